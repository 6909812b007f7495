"""Machine code for a GPU inside a library: found by its own headers, not by what the compiler says that it did.

TVM embeds a fat binary, a container of NVIDIA's, with one ELF file (a cubin) for each GPU architecture. An ELF file
names its machine; NVIDIA's is 190, and the low bytes of its flags hold the architecture, 90 for `sm_90`.
"""

import re
import struct
from pathlib import Path

from bottega.errors import IntegrityError

_ELF = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_CUDA = 190
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_FLAGS_BY_ABI = {7: 0, 8: 8}
"""Where the architecture stands in the flags, by the version of the ABI; 8 is CUDA 13's."""


def architectures(library: Path) -> tuple[str, ...]:
    """GPU architectures that `library` holds machine code for, as `sm_90`, each once and sorted."""
    content, found = library.read_bytes(), set()
    for match in re.finditer(re.escape(_ELF), content):
        if len(content) - match.start() < _HEADER.size:
            continue
        identity, _, machine, _, _, _, _, flags, *_ = _HEADER.unpack_from(content, match.start())
        if machine == _CUDA:
            found.add(f"sm_{flags >> _FLAGS_BY_ABI.get(identity[8], 0) & 0xFF}")
    return tuple(sorted(found))


def require_cubin(library: Path, arch: str) -> None:
    """Raises IntegrityError where `library` has no machine code for `arch`, or CUDA source in its place."""
    found = architectures(library)
    if found != (arch,):
        source = " It holds CUDA source instead." if b"__global__" in library.read_bytes() else ""
        raise IntegrityError(
            f"{library.name} holds machine code for {', '.join(found) or 'no GPU'}, not for {arch}.{source}",
            next_step="Check that nvcc runs, and that TVM's CUDA runtime loads.",
        )
