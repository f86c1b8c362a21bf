-- A resident who wants e-mail about an issue. The address is sealed with the report's key: it goes with it.
CREATE TABLE email_updates (
    subscription_id uuid PRIMARY KEY,
    report_id uuid NOT NULL UNIQUE REFERENCES report ON DELETE CASCADE,
    sealed bytea NOT NULL,
    confirmed boolean NOT NULL DEFAULT false,
    -- while it is not confirmed
    drop_after timestamptz CHECK (confirmed = (drop_after IS NULL))
);

-- E-mails to be sent: leased, not locked, while the mail server is asked. Gone once it has been taken.
CREATE TABLE email (
    email_id uuid PRIMARY KEY,
    subscription_id uuid NOT NULL REFERENCES email_updates ON DELETE CASCADE,
    -- 'confirm', or the status that the report has got
    about text NOT NULL,
    -- at once, until an attempt has failed
    due timestamptz NOT NULL DEFAULT '-infinity',
    attempts integer NOT NULL DEFAULT 0
);
CREATE INDEX email_due ON email (due);
CREATE INDEX email_subscription ON email (subscription_id);
