"""The compatibility matrix: every checkpoint of a folder with every version of the code, loaded and put to the test."""

from app_loader.museum.cell import Cell, Verdict
from app_loader.museum.expected import MatrixChange, compare_matrices
from app_loader.museum.matrix import Matrix, Row, make_matrix

__all__ = ["Cell", "Matrix", "MatrixChange", "Row", "Verdict", "compare_matrices", "make_matrix"]
