"""AWS's service models, read from disk once: botocore reads them again for every session.

Of SageMaker's alone that is a fifth of a second. Importing this module does it.
"""

import functools

from botocore.loaders import JSONFileLoader

_read = JSONFileLoader.load_file


@functools.cache
def _model(path: str) -> object:
    return _read(JSONFileLoader(), path)


JSONFileLoader.load_file = lambda _, file_path: _model(file_path)
