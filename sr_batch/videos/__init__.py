"""Videos in and out: `upscaling.upscale_video` is the whole of it.

source.py       a file opened; what is no video is refused
timeline.py     when each frame is shown, read from the packets
frames.py       the decoded frames, each in its place
inspecting.py   all of that which is known before the work
converting.py   decoded frames become RGB, upscaled RGB becomes frames for the encoder
inference.py    frames through the engine, one stream of tiles
flow.py         stages in threads, with bounded queues
resident.py     instead of the three above: frames that stay on a GPU
device_colour.py  colour.py for them, in torch
heap.py         freed frames go back to the system
part_writer.py  frames encoded into a finished part
parts.py        the parts on disk, and their journal
carrying.py     which other streams go into the result, and how
subtitles.py    text subtitles from one format into another
sound.py        sound that a container cannot hold, as its samples
joining.py      parts and copied streams become the result
matroska.py     the shape of its pixels in Matroska, which PyAV cannot tell
verifying.py    the result against its input

decoding.py     which decoder: usual, libvpx for alpha, hardware
deinterlacing.py  interlaced frames made whole
picture.py      what a video's pictures are: size, samples, colour, aspect, rotation, HDR
siting.py       where its chroma samples lie
colour.py       decoded frame <-> RGB array, exactly
matrices.py     RGB <-> Y, Cb, Cr as numbers
filling.py      RGB into a frame's planes
strips.py       work on a picture in strips that fit in the cache
chroma.py       half-resolution chroma enlarged and shrunk, about where it lies
planes.py       frames as arrays, one for each plane
encoding.py     options + picture + container -> which encoder, how set
codecs.py       the encoders: names, defaults, formats, levels
lookahead.py    how many frames they look ahead, by memory
pixel_formats.py  which of an encoder's formats holds a picture best
trial.py        whether an encoder opens here
"""
