"""Work that is cut into slices, done at one go."""


def finish(work):
    """Take all slices; return the value and their number."""
    count = 0
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value, count
        count += 1
