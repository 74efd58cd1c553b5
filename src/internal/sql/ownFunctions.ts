/**
 * The names of the functions of the record that are written in PL/pgSQL. The server names such a function in the report of an error
 * that it raised. A function with another name belongs to the host.
 */
const names = `
  alike_fields alteration baseline_batch baseline_begin baseline_next begin_part broken_triggers cached_transaction
  capture_gap capture_gaps capture_lapses capture_relation capture_truncate changes_known changes_near changes_of
  check_actor column_names column_renamed column_texts columns_renamed columns_rewritten complete_transaction
  contents_of context_changes current_cluster current_epoch current_policy current_transaction declared_names
  delete_view describe_change describe_update disinherited_by ensure_partitions entered_last exact_text
  expect_transactions export_cancel export_claim export_complete export_fail export_forget export_place export_queue
  export_release export_removed export_renew export_retry export_schedule_add export_schedule_remove export_tick
  feed_claim feed_forget feed_pending feed_release feed_renew feed_store finish first_action_of first_change
  follow_names forget_attached forget_epoch forget_moved guard_function guard_record guard_relation has_empty_file
  has_short_ids image image_by_column image_key image_of is_elsewhere joined_after kept_since key_changed
  key_in_columns key_of_texts key_shaped key_shown key_text key_values key_values_renamed keys_near known_until
  labels_outdated labels_touched labels_unaltered lapses_with last_change_before last_changes link_actions
  make_trigger make_watchful mark_rows mask_hash mask_value moves_end named_since names_declared names_released
  note_altered note_joined note_nested note_removal note_removed numbers_trimmed oldest_kept own_names
  partition_joined partition_marks partitions_below partitions_joined partitions_moved policy_of read_context
  record_action record_evidence record_export redact redact_path redact_paths refuse_by_guard restore_order
  row_holders row_key rows_rewritten save_view session_epoch set_context settled_image table_names table_renamed
  text_form this_database trigger_marks triggers_touched truncates_behind types_within unaltered unexplained_changes
  unexplained_rows unknown_partitions unknown_times unseen_partition_marks update_ends value_marks values_touched
  watch_command watch_drop watch_failed watch_failed_since watch_rewrite watch_safely watch_table without_virtual
  written_since
`

export const ownFunctions: ReadonlySet<string> = new Set(names.trim().split(/\s+/))
