"""The C++ kernel of the CPU: built at first use, called through ctypes."""
