"""The C interface through ctypes. `make cpp` builds the library and names its folder in M8D_CPP_BUILD."""

import ctypes as c
import os
from pathlib import Path

import numpy as np
import pytest

from m8d.engines.builtin import builtin_bundle

LAYERS = builtin_bundle().manifest.model.num_quantizers
BUILD = Path(os.environ.get("M8D_CPP_BUILD", "build/cpp"))
FLOATS, INTEGERS = c.POINTER(c.c_float), c.POINTER(c.c_int64)
Progress = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_uint32, c.c_uint32)


class OpenOptions(c.Structure):
    _fields_ = [("size", c.c_size_t), ("provider", c.c_char_p), ("threads", c.c_int32), ("verify", c.c_int32)]


class Sampling(c.Structure):
    _fields_ = [
        ("size", c.c_size_t), ("seed", c.c_uint64), ("coarse_steps", c.c_int32), ("second_steps", c.c_int32),
        ("rest_steps", c.c_int32), ("coarse_guidance", c.c_float), ("fine_guidance", c.c_float),
        ("rescale", c.c_float), ("temperature", c.c_float), ("top_k_ratio", c.c_float), ("prompt_seconds", c.c_float),
    ]  # fmt: skip


class Info(c.Structure):
    _fields_ = [("size", c.c_size_t), *((n, c.c_int32) for n in ("rate", "frame_rate", "latent_dim", "quantizers"))]


class StatusError(Exception):
    def __init__(self, status, text):
        super().__init__(f"{status}: {text}")
        self.status, self.text = status, text


class Library:
    """The functions of m8d.h; a status other than 0 is raised."""

    def __init__(self, folder=BUILD):
        self.raw = c.CDLL(str(folder / "libm8d.so"))
        self.raw.m8d_last_error.restype = self.raw.m8d_version.restype = c.c_char_p
        self.raw.m8d_close.argtypes = self.raw.m8d_voice_free.argtypes = self.raw.m8d_free.argtypes = [c.c_void_p]

    def __getattr__(self, name):
        function = getattr(self.raw, f"m8d_{name}")

        def call(*arguments):
            status = function(*arguments)
            if status:
                raise StatusError(status, self.raw.m8d_last_error().decode())

        return call

    def open(self, folder, **changes):
        options = OpenOptions()
        self.open_options_init(c.byref(options), c.c_size_t(c.sizeof(options)))
        for name, value in changes.items():
            setattr(options, name, value)
        pipeline = c.c_void_p()
        self.__getattr__("open")(str(folder).encode(), c.byref(options), c.byref(pipeline))
        return pipeline

    def sampling(self, pipeline, **changes):
        sampling = Sampling()
        self.sampling_init(pipeline, c.byref(sampling), c.c_size_t(c.sizeof(sampling)))
        for name, value in changes.items():
            setattr(sampling, name, value)
        return sampling

    def encode(self, pipeline, samples, rate, count=None):
        latents, frames = FLOATS(), c.c_size_t()
        data = None if samples is None else np.ascontiguousarray(samples, np.float32)
        pointer = None if data is None else data.ctypes.data_as(FLOATS)
        size = c.c_size_t(len(data) if count is None else count)
        self.__getattr__("encode")(pipeline, pointer, size, c.c_int32(rate), c.byref(latents), c.byref(frames))
        return self.taken(latents, (frames.value, 8))

    def semantic_codes(self, pipeline, latents):
        codes = INTEGERS()
        pointer = np.ascontiguousarray(latents).ctypes.data_as(FLOATS)
        self.__getattr__("semantic_codes")(pipeline, pointer, c.c_size_t(len(latents)), c.byref(codes))
        return self.taken(codes, (len(latents),))

    def voice(self, pipeline, samples, rate):
        voice, data = c.c_void_p(), np.ascontiguousarray(samples, np.float32)
        self.voice_create(pipeline, data.ctypes.data_as(FLOATS), c.c_size_t(len(data)), c.c_int32(rate), c.byref(voice))
        return voice

    def decode(self, pipeline, latents, voice=None, sampling=None, progress=None, quantizers=LAYERS):
        audio, count, codes = FLOATS(), c.c_size_t(), INTEGERS()
        data = np.ascontiguousarray(latents, np.float32)
        self.__getattr__("decode")(
            pipeline, data.ctypes.data_as(FLOATS), c.c_size_t(len(data)), voice, sampling and c.byref(sampling),
            progress or Progress(), None, c.byref(audio), c.byref(count), c.byref(codes),
        )  # fmt: skip
        return self.taken(audio, (count.value,)), self.taken(codes, (len(data), quantizers))

    def taken(self, pointer, shape):
        """A copy of an array that the library handed out, which is given back."""
        array = np.ctypeslib.as_array(pointer, shape).copy()
        self.raw.m8d_free(pointer)
        return array


@pytest.fixture(scope="session")
def library():
    return Library()


@pytest.fixture(scope="session")
def bundle():
    return builtin_bundle().folder


@pytest.fixture(scope="session")
def pipeline(library, bundle):
    pipeline = library.open(bundle, threads=1)
    yield pipeline
    library.raw.m8d_close(pipeline)
