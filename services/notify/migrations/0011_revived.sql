-- How often a delivery goes again that was given up while what it goes to was away.
ALTER TABLE delivery ADD COLUMN revived integer NOT NULL DEFAULT 0;
CREATE INDEX delivery_dead ON delivery (destination) WHERE state = 'dead';
