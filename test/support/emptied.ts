/**
 * A statement that empties tables of the record. TRUNCATE makes the files of each partition and of each of its indexes anew, so only
 * those that hold something are truncated.
 */
export const emptied = (...tables: ReadonlyArray<string>): string => `
  do $emptied$
  declare
    leaf regclass;
    is_filled boolean;
    filled text[] := '{}';
  begin
    for leaf in
      select c.oid
      from unnest('{${tables.map((table) => `threadline.${table}`).join()}}'::regclass[]) t (oid)
      join pg_class c on c.oid = t.oid or c.oid in (select inhrelid from pg_inherits where inhparent = t.oid)
      where c.relkind = 'r'
    loop
      execute format('select exists (select from %s)', leaf) into is_filled;
      if is_filled then
        filled := filled || leaf::text;
      end if;
    end loop;
    if filled <> '{}' then
      execute 'truncate ' || array_to_string(filled, ', ');
    end if;
  end
  $emptied$`

/** The log: changes, transactions and actions. */
export const emptiedLog = emptied("audit_changes", "audit_transactions", "audit_actions")
