//! Function evidence: quotes and reports of enclaves and confidential machines.
