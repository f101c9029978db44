# The same interface, so the same type.
from watermark.kernels.reference_sequences import Sequences as Sequences
