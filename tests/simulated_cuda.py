"""A GPU whose time passes in steps: kernels wait in a queue for the device, and the host waits for both."""

from collections import deque


class SimulatedCuda:
    """What `CudaClock` uses of ``torch.cuda``, on a simulated host and device.

    Args:
        queue: number of kernels that can wait; the host waits to launch more.
    """

    cycles_per_second = 1.5e9

    def __init__(self, queue=1024):
        self.host = 0.0
        self.free = 0.0  # when the device has finished all kernels
        self.busy = 0.0  # seconds in which it ran kernels
        self.starts = deque()
        self.queue = queue
        self.calls = []

    def now(self):
        return self.host

    def launch(self, host_ms, device_ms):
        """A kernel that the host takes ``host_ms`` to launch and the device ``device_ms`` to run."""
        while self.starts and self.starts[0] <= self.host:
            self.starts.popleft()
        if len(self.starts) >= self.queue:
            self.host = self.starts.popleft()
        self.host += host_ms / 1e3
        start = max(self.host, self.free)
        self.starts.append(start)
        self.free = start + device_ms / 1e3
        self.busy += device_ms / 1e3

    def synchronize(self, device=None):
        self.host = max(self.host, self.free)

    def current_stream(self, device=None):
        return None

    def _sleep(self, cycles):
        self.launch(0.005, 1e3 * cycles / self.cycles_per_second)

    def empty_cache(self):
        self.calls.append("empty_cache")

    def reset_peak_memory_stats(self, device=None):
        self.calls.append("reset_peak_memory_stats")

    def Event(self, enable_timing=False):  # noqa: N802
        return _Event(self)


class _Event:
    def __init__(self, cuda):
        self.cuda = cuda

    def record(self, stream=None):
        self.time = max(self.cuda.host, self.cuda.free)

    def synchronize(self):
        self.cuda.host = max(self.cuda.host, self.time)

    def query(self):
        return self.time <= self.cuda.host

    def elapsed_time(self, end):
        return 1e3 * (end.time - self.time)


class SimulatedModel:
    """A repetition of ``kernels`` kernels; ``factor`` gives the device's slowness at a time."""

    def __init__(self, cuda, kernels, host_ms, device_ms, factor=lambda now: 1.0, waits=False):
        self.cuda, self.kernels, self.host_ms, self.device_ms = cuda, kernels, host_ms, device_ms
        self.factor, self.waits = factor, waits
        self.steps = {"inference": self.run}
        self.waits_for_device = False  # what is known beforehand

    def load_next_batch(self):
        self.cuda.launch(0.005, 0.002)

    def run(self):
        factor = self.factor(self.cuda.host)
        for _ in range(self.kernels):
            self.cuda.launch(self.host_ms / self.kernels, factor * self.device_ms / self.kernels)
        if self.waits:
            self.cuda.synchronize()
