"""What of the installed packages no service needs: tests, sources, headers, tools, and what varies.

Names, versions and licences stay, so that a scanner sees which packages are there. That nothing needed is
left out, the tests show: they import the packages and answer requests in a real container.
"""

from __future__ import annotations

import fnmatch

# Folders of these names, wherever they are.
_FOLDERS = frozenset({"tests"})

_SUFFIXES = (
    ".pyi",
    ".pyx",
    ".pxd",
    ".pxi",
    ".c",
    ".cc",
    ".cpp",
    ".h",
    ".hpp",
    ".a",
    ".lib",
    ".f",
    ".f90",
    ".src",
)

# Whole paths below the packages' folder. "*" goes over "/" too.
_PATHS = (
    # What lies beside the packages: commands, and uv's own lock.
    "bin/*",
    "share/*",
    ".lock",
    # Written by the installer, different from one to the next; METADATA and licences stay.
    "*.dist-info/RECORD",
    "*.dist-info/INSTALLER",
    "*.dist-info/REQUESTED",
    "*.dist-info/direct_url.json",
    "*.dist-info/uv_cache.json",
    # NumPy: to build other packages.
    "numpy/_core/include/*",
    "numpy/_core/lib/*",
    "numpy/distutils/*",
    # ONNX Runtime: to convert, quantize and measure models. The library is for programs in C; Python's
    # module has all of it inside.
    "onnxruntime/backend/*",
    "onnxruntime/datasets/*",
    "onnxruntime/quantization/*",
    "onnxruntime/tools/*",
    "onnxruntime/transformers/*",
    "onnxruntime/capi/libonnxruntime.so.*",
)


def keeps(path: str) -> bool:
    """Tell whether a file of the installed packages shall be in the image.

    Parameters
    ----------
    path : str
        Relative to the folder that they are installed in, with "/".
    """
    *folders, name = path.split("/")
    return not (
        _FOLDERS.intersection(folders)
        or name.endswith(_SUFFIXES)
        or any(fnmatch.fnmatchcase(path, pattern) for pattern in _PATHS)
    )
