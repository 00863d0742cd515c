"""How many labels are right, where the folders of pictures name their classes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePath

from entrypoints.folders import nfc
from entrypoints.verdict import percent


@dataclass
class Accuracy:
    """Counts pictures that lie in a folder named as a class, and the right labels among them."""

    right: int = 0
    pictures: int = 0

    def count(self, file: str, label: str, classes: Collection[str]) -> None:
        """Count a picture, unless none of its folders is named as a class; the innermost one counts."""
        for folder in reversed(PurePath(file).parts[:-1]):
            named = next((name for name in classes if nfc(name) == nfc(folder)), None)
            if named is not None:
                self.right += label == named
                self.pictures += 1
                return

    def sentence(self) -> str:
        """The accuracy with Wilson's 95 % interval; "" where no folder names a class."""
        if not self.pictures:
            return ""
        from entrypoints.metrics import wilson  # NumPy and SciPy, which --help does not need

        low, high = wilson(self.right, self.pictures)
        return (
            f"accuracy {percent(self.right / self.pictures)} of {self.pictures:,} pictures in folders named "
            f"as classes (95 % interval {percent(low)} to {percent(high)}); it is too high if the model was "
            "trained on them"
        )
