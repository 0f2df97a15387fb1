//! Host evidence: a quote of a TPM 2.0 and the measurement list of the kernel (IMA).
