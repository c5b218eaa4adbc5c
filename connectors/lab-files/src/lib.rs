//! Watched folders of legacy lab servers.
