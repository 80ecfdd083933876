//! What users install: the Debian package, the systemd units, and the demonstration.

mod debian;
mod demo;
mod live;
mod systemd;
