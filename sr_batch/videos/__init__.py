"""Videos in and out.

picture.py   what a video's pictures are: size, samples, colour, aspect, rotation, HDR
siting.py    where its chroma samples lie
colour.py    decoded frame <-> RGB array, exactly
encoding.py  options + picture + container -> which encoder, how set
"""
