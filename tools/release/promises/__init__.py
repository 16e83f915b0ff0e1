"""What a version promises: the changes from the last released wheel to today's, and the least bump they ask for."""
