"""AWS's service models, read from disk once: botocore reads them again for every session.

Of SageMaker's alone that is a fifth of a second. Importing this module does it.
"""

import functools

from botocore.loaders import JSONFileLoader

_read = JSONFileLoader.load_file


@functools.cache
def _model(path: str) -> object:
    return _read(JSONFileLoader(), path)


def _load_file(loader: JSONFileLoader, file_path: str) -> object:
    # botocore takes the bucket out of the addresses in the model of S3 that it has read.
    return _read(loader, file_path) if "/s3/" in file_path else _model(file_path)


JSONFileLoader.load_file = _load_file
