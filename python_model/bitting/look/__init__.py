"""What people look at: tables and pictures of training, programs and answers. Knows files and artefacts, no torch, no RTL."""
