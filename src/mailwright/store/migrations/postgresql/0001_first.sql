-- store

CREATE TABLE schema_facts (
  name TEXT NOT NULL,
  value BIGINT NOT NULL,
  PRIMARY KEY (name)
);

CREATE TABLE nodes (
  id BIGINT NOT NULL,
  name TEXT NOT NULL,
  epoch BIGINT NOT NULL,
  ids_end BIGINT NOT NULL,
  seq BIGINT NOT NULL,
  started_at BIGINT NOT NULL,
  stopped_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE days (
  day BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (day)
);

-- accounts

CREATE TABLE settings_log (
  version BIGINT NOT NULL,
  at BIGINT NOT NULL,
  author TEXT NOT NULL,
  reason TEXT NOT NULL,
  summary TEXT NOT NULL,
  document TEXT NOT NULL,
  PRIMARY KEY (version)
);

CREATE TABLE tenants (
  id BIGINT NOT NULL,
  name TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE credentials (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  name TEXT NOT NULL,
  secret_hash BYTEA,
  scopes TEXT NOT NULL,
  stream BIGINT NOT NULL,
  hourly_limit BIGINT,
  daily_quota BIGINT,
  backlog_limit BIGINT,
  dsn TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT,
  revoked_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE quota_used (
  credential BIGINT NOT NULL,
  period SMALLINT NOT NULL,
  starts_at BIGINT NOT NULL,
  recipients BIGINT NOT NULL,
  PRIMARY KEY (credential, period, starts_at)
);

CREATE INDEX quota_used_period ON quota_used (period, starts_at);

CREATE TABLE sending_domains (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  domain TEXT NOT NULL,
  return_path_domain TEXT NOT NULL,
  proof TEXT NOT NULL,
  proven_at BIGINT,
  created_at BIGINT NOT NULL,
  retired_at BIGINT,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX sending_domains_live ON sending_domains (domain) WHERE retired_at IS NULL;

CREATE TABLE dkim_keys (
  sending_domain BIGINT NOT NULL,
  selector TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  sealed_key BIGINT NOT NULL,
  is_primary SMALLINT NOT NULL,
  signs_too SMALLINT NOT NULL,
  signing_domain TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT,
  revoked_at BIGINT,
  PRIMARY KEY (sending_domain, selector)
);

CREATE TABLE sealed_keys (
  id BIGINT NOT NULL,
  purpose TEXT NOT NULL,
  tenant BIGINT,
  sealed BYTEA NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT,
  PRIMARY KEY (id)
);

CREATE TABLE streams (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  name TEXT NOT NULL,
  class SMALLINT NOT NULL,
  pool BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  retired_at BIGINT,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX streams_name ON streams (tenant, name);

CREATE TABLE sources (
  id BIGINT NOT NULL,
  name TEXT NOT NULL,
  address TEXT NOT NULL,
  ehlo_name TEXT NOT NULL,
  owner BIGINT,
  epoch BIGINT,
  until BIGINT,
  retired_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE pools (
  id BIGINT NOT NULL,
  name TEXT NOT NULL,
  overflow BIGINT,
  retired_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (name)
);

CREATE TABLE pool_sources (
  pool BIGINT NOT NULL,
  source BIGINT NOT NULL,
  weight BIGINT NOT NULL,
  PRIMARY KEY (pool, source)
);

CREATE TABLE routes (
  id BIGINT NOT NULL,
  domain TEXT NOT NULL,
  host TEXT NOT NULL,
  port BIGINT NOT NULL,
  pipelining TEXT NOT NULL,
  tls TEXT NOT NULL,
  login TEXT NOT NULL,
  sealed_password BIGINT,
  retired_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (domain)
);

CREATE TABLE throttles (
  id BIGINT NOT NULL,
  title TEXT NOT NULL,
  name TEXT,
  rate TEXT NOT NULL,
  per TEXT NOT NULL,
  source BIGINT,
  provider TEXT,
  site TEXT,
  domain TEXT,
  tenant BIGINT,
  stream BIGINT,
  credential BIGINT,
  reason TEXT NOT NULL,
  retired_at BIGINT,
  PRIMARY KEY (id),
  UNIQUE (title)
);

CREATE TABLE provider_changes (
  id BIGINT NOT NULL,
  provider TEXT NOT NULL,
  treatment TEXT NOT NULL,
  reason TEXT NOT NULL,
  retired_at BIGINT,
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
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  credential BIGINT NOT NULL,
  stream BIGINT NOT NULL,
  campaign BIGINT,
  content BIGINT NOT NULL,
  accepted_at BIGINT NOT NULL,
  is_complete SMALLINT NOT NULL,
  reverse_path TEXT NOT NULL,
  ret TEXT NOT NULL,
  envid TEXT NOT NULL,
  sending_domain BIGINT NOT NULL,
  message_id TEXT NOT NULL,
  size_octets BIGINT NOT NULL,
  tags TEXT NOT NULL,
  metadata TEXT NOT NULL,
  edits TEXT NOT NULL,
  PRIMARY KEY (id)
);

CREATE INDEX messages_accepted ON messages (accepted_at) WHERE campaign IS NULL;

CREATE INDEX messages_incomplete ON messages (id) WHERE is_complete = 0;

CREATE TABLE contents (
  id BIGINT NOT NULL,
  header BYTEA NOT NULL,
  body BYTEA,
  body_file TEXT,
  body_octets BIGINT NOT NULL,
  checksum BIGINT NOT NULL,
  refs BIGINT NOT NULL,
  PRIMARY KEY (id)
);

CREATE TABLE lines (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  campaign BIGINT,
  stream BIGINT NOT NULL,
  sending_domain BIGINT NOT NULL,
  credential BIGINT NOT NULL,
  class SMALLINT NOT NULL,
  domain TEXT NOT NULL,
  pool BIGINT NOT NULL,
  count BIGINT NOT NULL,
  next_due_at BIGINT NOT NULL,
  hold BIGINT,
  owner BIGINT NOT NULL,
  epoch BIGINT NOT NULL,
  until BIGINT,
  timezone TEXT NOT NULL,
  PRIMARY KEY (id)
);

CREATE INDEX lines_owner ON lines (owner, id);

CREATE TABLE deliveries (
  id BIGINT NOT NULL,
  message BIGINT NOT NULL,
  line BIGINT NOT NULL,
  band SMALLINT NOT NULL,
  due_at BIGINT NOT NULL,
  not_before BIGINT,
  expires_at BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  attempt SMALLINT NOT NULL,
  ambiguous SMALLINT NOT NULL,
  lost SMALLINT NOT NULL,
  epoch BIGINT,
  source BIGINT,
  tenant BIGINT NOT NULL,
  stream BIGINT NOT NULL,
  recipient TEXT NOT NULL,
  subject BYTEA NOT NULL,
  notify TEXT NOT NULL,
  orcpt TEXT NOT NULL,
  accepted_at BIGINT NOT NULL,
  selector TEXT NOT NULL,
  token_key BIGINT,
  token_day BIGINT,
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
  id BIGINT NOT NULL,
  tenant BIGINT,
  scope TEXT NOT NULL,
  reason TEXT NOT NULL,
  author TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  ends_at BIGINT,
  released_at BIGINT,
  PRIMARY KEY (id)
);

-- campaigns

CREATE TABLE campaigns (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  credential BIGINT NOT NULL,
  stream BIGINT NOT NULL,
  name TEXT NOT NULL,
  state TEXT NOT NULL,
  start_wanted SMALLINT NOT NULL,
  content BIGINT NOT NULL,
  sending_domain BIGINT NOT NULL,
  selector TEXT NOT NULL,
  reverse_path TEXT NOT NULL,
  pool BIGINT,
  is_moving SMALLINT NOT NULL,
  spec TEXT NOT NULL,
  metadata TEXT NOT NULL,
  tags TEXT NOT NULL,
  seeds TEXT NOT NULL,
  list_url TEXT,
  thresholds TEXT,
  created_at BIGINT NOT NULL,
  sealed_at BIGINT,
  sealed_rows BIGINT NOT NULL,
  sealed_rejects BIGINT NOT NULL,
  rows BIGINT,
  duplicates BIGINT NOT NULL,
  invalid BIGINT NOT NULL,
  suppressed BIGINT NOT NULL,
  started_at BIGINT,
  dated_at BIGINT,
  send_at BIGINT,
  expires_at BIGINT,
  "window" TEXT,
  pace_per_hour BIGINT,
  priority SMALLINT NOT NULL,
  reason TEXT,
  finished_at BIGINT,
  PRIMARY KEY (id)
);

CREATE INDEX campaigns_open ON campaigns (id) WHERE finished_at IS NULL;

CREATE INDEX campaigns_tenant ON campaigns (tenant, id);

CREATE TABLE recipients (
  message BIGINT NOT NULL,
  campaign BIGINT NOT NULL,
  row BIGINT NOT NULL,
  delivery BIGINT NOT NULL,
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
  at BIGINT,
  PRIMARY KEY (message)
);

CREATE INDEX recipients_campaign ON recipients (campaign, message);

CREATE TABLE rejects (
  campaign BIGINT NOT NULL,
  row BIGINT NOT NULL,
  address TEXT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL,
  PRIMARY KEY (campaign, row)
);

CREATE TABLE campaign_totals (
  campaign BIGINT NOT NULL,
  state SMALLINT NOT NULL,
  category TEXT NOT NULL,
  count BIGINT NOT NULL,
  PRIMARY KEY (campaign, state, category)
);

CREATE TABLE templates (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  name TEXT NOT NULL,
  version BIGINT NOT NULL,
  content BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  author TEXT NOT NULL,
  note TEXT NOT NULL,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX templates_version ON templates (tenant, name, version);

-- events

CREATE TABLE cursors (
  tenant BIGINT NOT NULL,
  name TEXT NOT NULL,
  position TEXT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, name)
);

-- bounce

CREATE TABLE subjects (
  tenant BIGINT NOT NULL,
  subject BYTEA NOT NULL,
  soft_bounces SMALLINT NOT NULL,
  soft_bounced_at BIGINT,
  complaints SMALLINT NOT NULL,
  engaged_at BIGINT,
  PRIMARY KEY (tenant, subject)
);

CREATE TABLE suppressions (
  subject BYTEA NOT NULL,
  tenant BIGINT NOT NULL,
  stream BIGINT NOT NULL,
  reason TEXT NOT NULL,
  evidence TEXT NOT NULL,
  author TEXT NOT NULL,
  is_provisional SMALLINT NOT NULL,
  created_at BIGINT NOT NULL,
  ends_at BIGINT,
  PRIMARY KEY (subject, tenant, stream)
);

CREATE INDEX suppressions_tenant ON suppressions (tenant, created_at);

-- mta

CREATE TABLE tls_failures (
  mx TEXT NOT NULL,
  reason TEXT NOT NULL,
  failed_at BIGINT NOT NULL,
  until BIGINT NOT NULL,
  PRIMARY KEY (mx)
);

-- reputation

CREATE TABLE buckets (
  node BIGINT NOT NULL,
  name TEXT NOT NULL,
  full_at BIGINT NOT NULL,
  PRIMARY KEY (node, name)
);

CREATE TABLE ledgers (
  day BIGINT NOT NULL,
  key TEXT NOT NULL,
  used BIGINT NOT NULL,
  PRIMARY KEY (day, key)
);

-- api

CREATE TABLE idempotency (
  tenant BIGINT NOT NULL,
  path TEXT NOT NULL,
  key TEXT NOT NULL,
  request_hash BYTEA NOT NULL,
  status SMALLINT NOT NULL,
  response TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (tenant, path, key)
);

CREATE INDEX idempotency_created ON idempotency (created_at);

CREATE TABLE webhooks (
  id BIGINT NOT NULL,
  tenant BIGINT NOT NULL,
  name TEXT NOT NULL,
  url TEXT NOT NULL,
  types TEXT NOT NULL,
  campaign TEXT,
  secret BYTEA NOT NULL,
  old_secret BYTEA,
  old_secret_until BIGINT,
  created_at BIGINT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  position TEXT NOT NULL,
  offered TEXT NOT NULL,
  gap TEXT NOT NULL,
  failures BIGINT NOT NULL,
  failing_since BIGINT,
  next_attempt_at BIGINT,
  last_attempt_at BIGINT,
  last_status BIGINT,
  last_error TEXT NOT NULL,
  delivered_at BIGINT,
  PRIMARY KEY (id)
);

CREATE INDEX webhooks_tenant ON webhooks (tenant, id);

INSERT INTO schema_facts (name, value) VALUES ('version', 1);
INSERT INTO schema_facts (name, value) VALUES ('min_reader', 1);
INSERT INTO schema_facts (name, value) VALUES ('epoch', 0);
