"""A program with a fault: its mapper raises on a line that says so."""

from mrjob.job import MRJob


class Fails(MRJob):
    def mapper(self, _, line):
        if "poison" in line:
            raise ValueError("a line that nobody can digest")
        yield line, 1


if __name__ == "__main__":
    Fails.run()
