"""What several components share: shapes, checksum, register slice, build options."""
