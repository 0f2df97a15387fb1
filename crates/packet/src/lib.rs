//! Views and builders for the headers that ringmail puts on, takes off or looks at.
