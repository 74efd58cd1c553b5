/**
 * The indexes that reads of the record depend on, as PostgreSQL defines them after a fresh install. A test compares.
 */
export const recordIndexes: ReadonlyArray<{
  readonly name: string
  readonly table: string
  readonly using: string
}> = [
  {
    name: "audit_actions_actor_idx",
    table: "audit_actions",
    using: "btree (actor_type, actor_id, occurred_at, id) WITH (deduplicate_items=off) WHERE (actor_type IS NOT NULL)"
  },
  {
    name: "audit_actions_correlation_idx",
    table: "audit_actions",
    using: "btree (correlation_id, transaction_id) WHERE (correlation_id IS NOT NULL)"
  },
  {
    name: "audit_actions_failed_idx",
    table: "audit_actions",
    using: "btree (occurred_at, id) WITH (deduplicate_items=off) WHERE (status = 'error'::text)"
  },
  {
    name: "audit_actions_failed_transaction_idx",
    table: "audit_actions",
    using: "btree (transaction_id) WHERE ((status = 'error'::text) AND (transaction_id IS NOT NULL))"
  },
  {
    name: "audit_actions_name_idx",
    table: "audit_actions",
    using: "btree (name, transaction_id)"
  },
  {
    name: "audit_actions_occurred_idx",
    table: "audit_actions",
    using: "btree (occurred_at, id) WITH (deduplicate_items=off)"
  },
  {
    name: "audit_actions_transaction_idx",
    table: "audit_actions",
    using: "btree (transaction_id) WHERE (transaction_id IS NOT NULL)"
  },
  {
    name: "audit_changes_previous_key_idx",
    table: "audit_changes",
    using:
      "btree (previous_row_key, table_name, table_schema, captured_at, id) WITH (deduplicate_items=off) WHERE (previous_row_key IS NOT NULL)"
  },
  {
    name: "audit_changes_removed_idx",
    table: "audit_changes",
    using:
      "btree (table_schema, table_name, transaction_id, id) WITH (deduplicate_items=off) WHERE (op = ANY (ARRAY['delete'::text, 'truncate'::text]))"
  },
  {
    name: "audit_changes_row_idx",
    table: "audit_changes",
    using: "btree (row_key, table_name, table_schema, captured_at, id) WITH (deduplicate_items=off)"
  },
  {
    name: "audit_changes_table_idx",
    table: "audit_changes",
    using: "btree (table_schema, table_name, transaction_id, id) WITH (deduplicate_items=off)"
  },
  {
    name: "audit_changes_time_idx",
    table: "audit_changes",
    using: "brin (captured_at, id, ((transaction_id + 0))) WITH (autosummarize='on', pages_per_range='32')"
  },
  {
    name: "audit_changes_transaction_idx",
    table: "audit_changes",
    using: "btree (transaction_id, id) WITH (deduplicate_items=off)"
  },
  {
    name: "audit_transactions_actor_idx",
    table: "audit_transactions",
    using: "btree (actor_type, actor_id, id) WITH (deduplicate_items=off) WHERE (actor_type IS NOT NULL)"
  },
  {
    name: "audit_transactions_correlation_idx",
    table: "audit_transactions",
    using: "btree (correlation_id, id) WITH (deduplicate_items=off) WHERE (correlation_id IS NOT NULL)"
  },
  {
    name: "audit_transactions_ids_idx",
    table: "audit_transactions",
    using:
      "brin (id, request_id text_bloom_ops (n_distinct_per_range='350', false_positive_rate='0.005'), job_id text_bloom_ops (n_distinct_per_range='350', false_positive_rate='0.005'), trace_id text_bloom_ops (n_distinct_per_range='350', false_positive_rate='0.005')) WITH (autosummarize='on', pages_per_range='12') WHERE ((request_id IS NOT NULL) OR (job_id IS NOT NULL) OR (trace_id IS NOT NULL))"
  },
  {
    name: "audit_transactions_occurred_idx",
    table: "audit_transactions",
    using: "btree (occurred_at, id) WITH (deduplicate_items=off)"
  },
  {
    name: "audit_transactions_unattributed_idx",
    table: "audit_transactions",
    using: "btree (id) WITH (deduplicate_items=off) WHERE (actor_type IS NULL)"
  },
  {
    name: "audit_transactions_xid_idx",
    table: "audit_transactions",
    using: "btree (xid, epoch, id) WITH (deduplicate_items=off)"
  }
]
