//! Links and taps: UDP with GSO and GRO, TUN, memory, pcapng, injected faults.
