-- A batch is written once and read only after a failure: compressing it took half the time of storing it.
ALTER TABLE outbox_batch
    ALTER ids SET STORAGE EXTERNAL,
    ALTER types SET STORAGE EXTERNAL,
    ALTER topics SET STORAGE EXTERNAL,
    ALTER keys SET STORAGE EXTERNAL,
    ALTER contents SET STORAGE EXTERNAL,
    ALTER sources SET STORAGE EXTERNAL,
    ALTER times SET STORAGE EXTERNAL,
    ALTER partitions SET STORAGE EXTERNAL,
    ALTER numbers SET STORAGE EXTERNAL;
