/**
 * Code for any number of rows, even if the table was altered: images that cannot fail, compared name by name.
 */
import { literal } from "../../sql/sqlText.js"
import { type Code, code } from "./code.js"
import type { Op } from "./model.js"
import { changeColumns, generalImage, generalPolicy, type Parts, settleOrder, target } from "./parts.js"

export const generalRows = (parts: Parts, op: Op): Code => code`
  first_id := nextval('audit_changes_id_seq');
  instant := clock_timestamp();
  ${op === "update" ? updates(parts) : insertsOrDeletes(parts, op)}
  ${settleOrder}
`

const shared = (parts: Parts): string =>
  `nextval('audit_changes_id_seq'), (select current_transaction()), instant, ${target(parts)}`

const updates = (parts: Parts): Code =>
  parts.shape.partitioned
    ? code`
        if (select count(*) from threadline_old x) <> (select count(*) from threadline_new x) then
          ${unpaired(parts)}
        else
          ${paired(parts)}
        end if;
      `
    : paired(parts)

/** Everything that is compared of the rows of a transition table; "coalesce" makes a value of a row without naming it. */
const compared = (parts: Parts, table: "old" | "new"): Code => code`
  select row_number() over () as place, ${generalImage(parts, "x.*")} as image, exact_text(x.*) as exact, coalesce(x.*) as source
  from threadline_${table} x
`

const paired = (parts: Parts): Code => code`
  insert into audit_changes (${changeColumns}, details)
  select ${shared(parts)},
    'update', p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
  from (
    select c.*
    from (
      ${compared(parts, "old")}
    ) o
    full join (
      ${compared(parts, "new")}
    ) n on n.place = o.place
    cross join lateral describe_update(
      o.image, n.image, o.exact, n.exact, o.source, n.source, ${generalPolicy(parts)}, tg_relid
    ) c
    where c.changed
    order by o.place
  ) p;
`

/**
 * A trigger of the partition that a row moves to may skip the row. Then it is missing from the new rows, and places no longer
 * match old and new rows. Old and new rows are matched by their key, or if they are equal in a table without a key. The rest was
 * deleted or inserted.
 */
const unpaired = (parts: Parts): Code => {
  const policy = generalPolicy(parts)
  const identified = (table: "old" | "new"): Code => code`
    select i.image, i.exact, i.source, coalesce(k.row_key, i.image::text) as identity,
      row_number() over (partition by coalesce(k.row_key, i.image::text)) as nth
    from (
      ${compared(parts, table)}
      offset 0
    ) i
    cross join lateral image_key(i.image, ${policy} -> 'key', tg_relid) k
  `
  return code`
    insert into audit_changes (${changeColumns}, details)
    select ${shared(parts)},
      p.op, p.row_pk, p.row_key, p.previous_row_key, p.changed_fields, p.changed_from, p.data_after, p.details
    from (
      select c.*
      from (
        ${identified("old")}
      ) o
      full join (
        ${identified("new")}
      ) n on n.identity = o.identity and n.nth = o.nth
      cross join lateral describe_change(
        o.image, n.image, o.exact, n.exact, o.source, n.source, ${policy}, tg_relid
      ) c
      where c.op is not null
      order by c.op = 'insert', c.op = 'update'
    ) p;
  `
}

const insertsOrDeletes = (parts: Parts, op: "insert" | "delete"): Code => {
  const policy = generalPolicy(parts)
  const stored = `redact(r.image, ${policy}, tg_relid)`
  return code`
    insert into audit_changes (${changeColumns})
    select ${shared(parts)},
      ${literal(op)}, k.row_pk, k.row_key, null, null, ${op === "insert" ? `null, ${stored}` : `${stored}, null`}
    from (select ${generalImage(parts, "x.*")} as image from threadline_${op === "insert" ? "new" : "old"} x) r
    cross join lateral image_key(r.image, ${policy} -> 'key', tg_relid) k;
  `
}
