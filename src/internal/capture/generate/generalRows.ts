/**
 * Any number of rows, whatever has become of the table: images that cannot fail, compared name by name.
 */
import { literal } from "../../sql/sqlText.js"
import type { Op } from "./model.js"
import { changeColumns, generalPolicy, type Parts, settleOrder, settlePolicy, target, withoutVirtual } from "./parts.js"

export const generalRows = (
  parts: Parts,
  op: Op
): string => `${settlePolicy(parts)}    first_id := nextval('audit_changes_id_seq');
    instant := clock_timestamp();
    insert into audit_changes (${changeColumns})
    select nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${target(parts)},
      ${op === "update" ? updates(parts) : insertsOrDeletes(parts, op)};
    ${settleOrder("first_id")}
    return null;`

const updates = (parts: Parts): string => {
  const rows = (name: string) => `(
        select row_number() over () as place, ${withoutVirtual(parts, "image(x.*)")} as image${parts.general ? ", exact_text(x.*) as exact" : ""}
        from threadline_${name} x
      )`
  return `'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after
    from (
      select c.*
      from ${rows("old")} o
      full join ${rows("new")} n on n.place = o.place
      cross join lateral describe_update(
        o.image, n.image, ${parts.general ? "o.exact, n.exact" : "null, null"}, ${generalPolicy(parts)}, tg_relid
      ) c
      where c.changed
      order by o.place
    ) p`
}

const insertsOrDeletes = (parts: Parts, op: "insert" | "delete"): string => {
  const policy = generalPolicy(parts)
  const stored = `redact(r.image, ${policy}, tg_relid)`
  return `${literal(op)}, k.row_pk, k.row_key, null, null, ${op === "insert" ? `null, ${stored}` : `${stored}, null`}
    from (select ${withoutVirtual(parts, "image(x.*)")} as image from threadline_${op === "insert" ? "new" : "old"} x) r
    cross join lateral image_key(r.image, ${policy} -> 'key', tg_relid) k`
}
