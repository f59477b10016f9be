"""Who somebody is: Ed25519 key files and the peer ids that contain their public keys."""
