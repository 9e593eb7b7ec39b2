"""Rows and columns in pairs, so that the sum of their costs is least (Crouse 2016, 10.1109/TAES.2016.140952).

In: a matrix with no more rows than columns. Out: the column of each row. Among solutions with the same sum it
finds that of scipy.optimize.linear_sum_assignment, on which OmniDocBench's figures depend; for a sum
alone, `lists` has a faster one.
"""

import numpy as np
import numpy.typing as npt


def assigned(costs: npt.NDArray[np.float64]) -> list[int]:
    """The column of each row."""
    rows, columns = costs.shape
    values = costs.tolist()
    of_row, of_column = [0.0] * rows, [0.0] * columns  # potentials: costs less them are never negative
    column_of, row_of = [-1] * rows, [-1] * columns
    for row in range(rows):
        lengths, before = [float("inf")] * columns, [-1] * columns
        open_ = list(
            range(columns - 1, -1, -1)
        )  # from the last one: where all costs are equal, rows keep theirs
        here, path, end = row, 0.0, -1
        reached, passed = [row], []
        while end < 0:
            nearest, least = -1, float("inf")
            for number, column in enumerate(open_):
                length = path + values[here][column] - of_row[here] - of_column[column]
                if length < lengths[column]:
                    lengths[column], before[column] = length, here
                if lengths[column] < least or (lengths[column] == least and row_of[column] < 0):
                    nearest, least = number, lengths[column]
            path, at = least, open_[nearest]
            passed.append(at)
            open_[nearest] = open_[-1]
            open_.pop()
            if row_of[at] < 0:
                end = at
            else:
                here = row_of[at]
                reached.append(here)
        of_row[row] += path
        for one in reached[1:]:
            of_row[one] += path - lengths[column_of[one]]
        for column in passed:
            of_column[column] -= path - lengths[column]
        while end >= 0:  # each row on the path takes the column behind it
            here = before[end]
            row_of[end] = here
            column_of[here], end = end, column_of[here]
    return column_of
