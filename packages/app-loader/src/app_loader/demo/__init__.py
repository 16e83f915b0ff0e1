"""The main job on real input: train with an old model zoo, then load beside the newest one, years later."""
