-- store

CREATE TABLE schema_facts (
  name TEXT NOT NULL,
  value INTEGER NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE nodes (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  ids_end INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  stopped_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE days (
  day INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (day)
);

-- accounts

CREATE TABLE settings_log (
  version INTEGER NOT NULL,
  at INTEGER NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL,
  summary TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (version)
);

CREATE TABLE tenants (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE credentials (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  name TEXT NOT NULL,
  secret_hash BLOB,
  scopes TEXT NOT NULL,
  stream INTEGER NOT NULL,
  hourly_limit INTEGER,
  daily_quota INTEGER,
  backlog_limit INTEGER,
  dsn TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  revoked_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE quota_used (
  credential INTEGER NOT NULL,
  period SMALLINT NOT NULL,
  starts_at INTEGER NOT NULL,
  recipients INTEGER NOT NULL,
  PRIMARY KEY (credential, period, starts_at)
);

CREATE INDEX quota_used_period ON quota_used (period, starts_at);

CREATE TABLE sending_domains (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  domain TEXT NOT NULL,
  return_path_domain TEXT NOT NULL,
  proof TEXT NOT NULL,
  proven_at INTEGER,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX sending_domains_live ON sending_domains (domain) WHERE retired_at IS NULL;

CREATE TABLE dkim_keys (
  sending_domain INTEGER NOT NULL,
  selector TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  sealed_key INTEGER NOT NULL,
  is_primary SMALLINT NOT NULL,
  signs_too SMALLINT NOT NULL,
  signing_domain TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  revoked_at INTEGER,
  PRIMARY KEY (sending_domain, selector)
);

CREATE TABLE sealed_keys (
  id INTEGER NOT NULL,
  purpose TEXT NOT NULL,
  tenant INTEGER,
  sealed BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  PRIMARY KEY (id)
);

CREATE TABLE streams (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  name TEXT NOT NULL,
  class SMALLINT NOT NULL,
  pool INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  retired_at INTEGER,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX streams_name ON streams (tenant, name);

CREATE TABLE sources (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  address TEXT NOT NULL,
  ehlo_name TEXT NOT NULL,
  owner INTEGER,
  epoch INTEGER,
  until INTEGER,
  retired_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE pools (
  id INTEGER NOT NULL,
  name TEXT NOT NULL,
  overflow INTEGER,
  retired_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE pool_sources (
  pool INTEGER NOT NULL,
  source INTEGER NOT NULL,
  weight INTEGER NOT NULL,
  PRIMARY KEY (pool, source)
);

CREATE TABLE routes (
  id INTEGER NOT NULL,
  domain TEXT NOT NULL,
  host TEXT NOT NULL,
  port INTEGER NOT NULL,
  pipelining TEXT NOT NULL,
  tls TEXT NOT NULL,
  login TEXT NOT NULL,
  sealed_password INTEGER,
  retired_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (domain)
);

CREATE TABLE throttles (
  id INTEGER NOT NULL,
  title TEXT NOT NULL,
  name TEXT,
  rate TEXT NOT NULL,
  per TEXT NOT NULL,
  source INTEGER,
  provider TEXT,
  site TEXT,
  domain TEXT,
  tenant INTEGER,
  stream INTEGER,
  credential INTEGER,
  reason TEXT NOT NULL,
  retired_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (title)
);

CREATE TABLE provider_changes (
  id INTEGER NOT NULL,
  provider TEXT NOT NULL,
  treatment TEXT NOT NULL,
  reason TEXT NOT NULL,
  retired_at INTEGER,
  PRIMARY KEY (id),
  UNIQUE (provider)
);

CREATE TABLE allowed_networks (
  network TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (network)
);

-- queue

CREATE TABLE messages (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  credential INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  campaign INTEGER,
  content INTEGER NOT NULL,
  accepted_at INTEGER NOT NULL,
  is_complete SMALLINT NOT NULL,
  reverse_path TEXT NOT NULL,
  ret TEXT NOT NULL,
  envid TEXT NOT NULL,
  sending_domain INTEGER NOT NULL,
  message_id TEXT NOT NULL,
  size_octets INTEGER NOT NULL,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  edits TEXT NOT NULL,
  PRIMARY KEY (id)
);

CREATE INDEX messages_accepted ON messages (accepted_at) WHERE campaign IS NULL;

CREATE INDEX messages_incomplete ON messages (id) WHERE is_complete = 0;

CREATE TABLE contents (
  id INTEGER NOT NULL,
  header BLOB NOT NULL,
  body BLOB,
  body_file TEXT,
  body_octets INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  refs INTEGER NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE lines (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  campaign INTEGER,
  stream INTEGER NOT NULL,
  sending_domain INTEGER NOT NULL,
  credential INTEGER NOT NULL,
  class SMALLINT NOT NULL,
  domain TEXT NOT NULL,
  pool INTEGER NOT NULL,
  count INTEGER NOT NULL,
  next_due_at INTEGER NOT NULL,
  hold INTEGER,
  owner INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  until INTEGER,
  timezone TEXT NOT NULL,
  PRIMARY KEY (id)
);

CREATE INDEX lines_owner ON lines (owner, id);

CREATE TABLE deliveries (
  id INTEGER NOT NULL,
  message INTEGER NOT NULL,
  line INTEGER NOT NULL,
  band SMALLINT NOT NULL,
  due_at INTEGER NOT NULL,
  not_before INTEGER,
  expires_at INTEGER NOT NULL,
  state SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  ambiguous SMALLINT NOT NULL,
  lost SMALLINT NOT NULL,
  epoch INTEGER,
  source INTEGER,
  tenant INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  recipient TEXT NOT NULL,
  subject BLOB NOT NULL,
  notify TEXT NOT NULL,
  orcpt TEXT NOT NULL,
  accepted_at INTEGER NOT NULL,
  selector TEXT NOT NULL,
  token_key INTEGER,
  token_day INTEGER,
  last_reply TEXT,
  is_delay_reported SMALLINT NOT NULL,
  PRIMARY KEY (id)
);

CREATE INDEX deliveries_message ON deliveries (message);

CREATE INDEX deliveries_queue ON deliveries (line, band, due_at) WHERE state = 0;

CREATE INDEX deliveries_expiry ON deliveries (expires_at) WHERE state = 0 AND expires_at < 253402300799999999;

CREATE INDEX deliveries_sending ON deliveries (epoch) WHERE state = 1;

CREATE INDEX deliveries_subject ON deliveries (subject);

CREATE TABLE holds (
  id INTEGER NOT NULL,
  tenant INTEGER,
  scope TEXT NOT NULL,
  reason TEXT NOT NULL,
  author TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  ends_at INTEGER,
  released_at INTEGER,
  PRIMARY KEY (id)
);

-- campaigns

CREATE TABLE campaigns (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  credential INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  start_wanted SMALLINT NOT NULL,
  content INTEGER NOT NULL,
  sending_domain INTEGER NOT NULL,
  selector TEXT NOT NULL,
  reverse_path TEXT NOT NULL,
  pool INTEGER,
  is_moving SMALLINT NOT NULL,
  spec TEXT NOT NULL,
  metadata TEXT NOT NULL,
  tags TEXT NOT NULL,
  seeds TEXT NOT NULL,
  list_url TEXT,
  thresholds TEXT,
  created_at INTEGER NOT NULL,
  sealed_at INTEGER,
  sealed_rows INTEGER NOT NULL,
  sealed_rejects INTEGER NOT NULL,
  rows INTEGER,
  duplicates INTEGER NOT NULL,
  invalid INTEGER NOT NULL,
  suppressed INTEGER NOT NULL,
  started_at INTEGER,
  dated_at INTEGER,
  send_at INTEGER,
  expires_at INTEGER,
  window TEXT,
  pace_per_hour INTEGER,
  priority SMALLINT NOT NULL,
  reason TEXT,
  finished_at INTEGER,
  PRIMARY KEY (id)
);

CREATE INDEX campaigns_open ON campaigns (id) WHERE finished_at IS NULL;

CREATE INDEX campaigns_tenant ON campaigns (tenant, id);

CREATE TABLE recipients (
  message INTEGER NOT NULL,
  campaign INTEGER NOT NULL,
  "row" INTEGER NOT NULL,
  delivery INTEGER NOT NULL,
  address TEXT NOT NULL,
  fields TEXT NOT NULL,
  metadata TEXT NOT NULL,
  timezone TEXT NOT NULL,
  variant TEXT NOT NULL,
  is_seed SMALLINT NOT NULL,
  state SMALLINT NOT NULL,
  category TEXT NOT NULL,
  code SMALLINT NOT NULL,
  enhanced TEXT NOT NULL,
  reply TEXT NOT NULL,
  at INTEGER,
  PRIMARY KEY (message)
);

CREATE INDEX recipients_campaign ON recipients (campaign, message);

CREATE TABLE rejects (
  campaign INTEGER NOT NULL,
  "row" INTEGER NOT NULL,
  address TEXT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (campaign, "row")
)
 WITHOUT ROWID;

CREATE TABLE campaign_totals (
  campaign INTEGER NOT NULL,
  state SMALLINT NOT NULL,
  category TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (campaign, state, category)
)
 WITHOUT ROWID;

CREATE TABLE templates (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  name TEXT NOT NULL,
  version INTEGER NOT NULL,
  content INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  author TEXT NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX templates_version ON templates (tenant, name, version);

-- events

CREATE TABLE cursors (
  tenant INTEGER NOT NULL,
  name TEXT NOT NULL,
  position TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, name)
);

-- bounce

CREATE TABLE subjects (
  tenant INTEGER NOT NULL,
  subject BLOB NOT NULL,
  soft_bounces SMALLINT NOT NULL,
  soft_bounced_at INTEGER,
  complaints SMALLINT NOT NULL,
  engaged_at INTEGER,
  PRIMARY KEY (tenant, subject)
)
 WITHOUT ROWID;

CREATE TABLE suppressions (
  subject BLOB NOT NULL,
  tenant INTEGER NOT NULL,
  stream INTEGER NOT NULL,
  reason TEXT NOT NULL,
  evidence TEXT NOT NULL,
  author TEXT NOT NULL,
  is_provisional SMALLINT NOT NULL,
  created_at INTEGER NOT NULL,
  ends_at INTEGER,
  PRIMARY KEY (subject, tenant, stream)
)
 WITHOUT ROWID;

CREATE INDEX suppressions_tenant ON suppressions (tenant, created_at);

-- mta

CREATE TABLE tls_failures (
  mx TEXT NOT NULL,
  reason TEXT NOT NULL,
  failed_at INTEGER NOT NULL,
  until INTEGER NOT NULL,
  PRIMARY KEY (mx)
);

-- reputation

CREATE TABLE buckets (
  node INTEGER NOT NULL,
  name TEXT NOT NULL,
  full_at INTEGER NOT NULL,
  PRIMARY KEY (node, name)
);

CREATE TABLE ledgers (
  day INTEGER NOT NULL,
  "key" TEXT NOT NULL,
  used INTEGER NOT NULL,
  PRIMARY KEY (day, "key")
);

-- api

CREATE TABLE idempotency (
  tenant INTEGER NOT NULL,
  path TEXT NOT NULL,
  "key" TEXT NOT NULL,
  request_hash BLOB NOT NULL,
  status SMALLINT NOT NULL,
  response TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant, path, "key")
);

CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE webhooks (
  id INTEGER NOT NULL,
  tenant INTEGER NOT NULL,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  types TEXT NOT NULL,
  campaign TEXT,
  secret BLOB NOT NULL,
  old_secret BLOB,
  old_secret_until INTEGER,
  created_at INTEGER NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  position TEXT NOT NULL,
  offered TEXT NOT NULL,
  gap TEXT NOT NULL,
  failures INTEGER NOT NULL,
  failing_since INTEGER,
  next_attempt_at INTEGER,
  last_attempt_at INTEGER,
  last_status INTEGER,
  last_error TEXT NOT NULL,
  delivered_at INTEGER,
  PRIMARY KEY (id)
);

CREATE INDEX webhooks_tenant ON webhooks (tenant, id);

INSERT INTO schema_facts (name, value) VALUES ('version', 1);
INSERT INTO schema_facts (name, value) VALUES ('min_reader', 1);
INSERT INTO schema_facts (name, value) VALUES ('epoch', 0);
