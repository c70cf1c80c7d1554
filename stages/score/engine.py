"""Who does blocks: on this machine in_processes.py, on Ray on_ray.py."""

from collections.abc import Callable, Iterable, Iterator

from stages.score.corpus import Block
from stages.score.job import Job, Scored

# Job, blocks, how many workers -> the blocks as they are done, in any order.
Engine = Callable[[Job, Iterable[Block], int], Iterator[Scored]]
# A worker computes in one thread: of several workers each has a core.
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
