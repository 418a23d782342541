"""The word that occurs most often: counts, then the greatest of them, in two steps."""

import re

from mrjob.job import MRJob
from mrjob.step import MRStep

WORD = re.compile(r"[^\W\d_]+")


class MostUsedWord(MRJob):
    def steps(self):
        return [
            MRStep(mapper=self.split, combiner=self.add, reducer=self.add_and_swap),
            MRStep(reducer=self.greatest),
        ]

    def split(self, _, line):
        for word in WORD.findall(line):
            yield word.lower(), 1

    def add(self, word, counts):
        yield word, sum(counts)

    def add_and_swap(self, word, counts):
        # One key for all, so that one reducer sees every word.
        yield None, (sum(counts), word)

    def greatest(self, _, pairs):
        count, word = max(pairs)
        yield word, count


if __name__ == "__main__":
    MostUsedWord.run()
