//! The embedded certification authority and the seam to the trust plane.
