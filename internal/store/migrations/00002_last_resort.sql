-- +goose Up
-- Which KeyPackage is a device's last resort: given out when no other is left, and
-- never used up. At most one of a device. What is sealed says it too, by its tag.
ALTER TABLE packages ADD COLUMN last_resort INTEGER NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE packages DROP COLUMN last_resort;
