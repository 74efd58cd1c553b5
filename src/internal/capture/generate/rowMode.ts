/**
 * The function of a row trigger: for foreign tables, members of an inheritance tree, and capture under replication.
 */
import { literal } from "../../sql/sqlText.js"
import { type Code, code, nothing } from "./code.js"
import type { Op, Purpose } from "./model.js"
import { clonedTriggerName } from "./names.js"
import { oneRow } from "./oneRow.js"
import { epoch, openingVariables } from "./openTransaction.js"
import {
  changeColumns,
  generalImage,
  generalPolicy,
  hasNew,
  hasOld,
  imageOf,
  imageVariables,
  noteAltered,
  type Parts,
  generalVariables,
  settleOpenTarget,
  settleOrder,
  settlePolicy,
  settleTarget,
  target,
  targetVariables
} from "./parts.js"

/** A row trigger that PostgreSQL clones to partitions. Every role may execute its function. */
export interface Cloned {
  /** What it is for: the function serves no other trigger. */
  readonly purpose: Purpose
  /** The condition for a row to be recorded, if it fires for some rows only. */
  readonly onlyIf?: string
  /** What the change has in `details`, as SQL. */
  readonly details?: string
}

/** The condition of a firing that the function of a cloned trigger does not handle. */
const isOther = ({ shape }: Parts, { purpose }: Cloned, op: Op): string =>
  `tg_name <> ${literal(clonedTriggerName(shape, purpose))} or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> ${literal(op.toUpperCase())}`

const generalWay = (parts: Parts, op: Op, details: string | undefined): Code => {
  const policy = generalPolicy(parts)
  const shared = `nextval('audit_changes_id_seq'), (select current_transaction()), clock_timestamp(), ${target(parts)}`
  if (op === "update") {
    return code`
      insert into audit_changes (${changeColumns}, details)
      select ${shared},
        'update', c.row_pk, c.row_key, c.previous_row_key, c.changed_fields, c.changed_from, c.data_after, c.details
      from describe_update(was, now, exact_text(old), exact_text(new), old, new, ${policy}, tg_relid) c
      where c.changed
      returning id into first_id;
    `
  }
  const image = op === "insert" ? "now" : "was"
  const stored = `redact(${image}, ${policy}, tg_relid)`
  return code`
    insert into audit_changes (${changeColumns}, details)
    select ${shared},
      ${literal(op)}, k.row_pk, k.row_key, null, null, ${op === "insert" ? `null, ${stored}` : `${stored}, null`}, ${details ?? "null"}
    from image_key(${image}, ${policy} -> 'key', tg_relid) k
    returning id into first_id;
  `
}

const variables = (parts: Parts, op: Op): Code => code`
  ${targetVariables}
  first_id bigint;
  last_before bigint;
  ${openingVariables}
  ${imageVariables(op)}
  ${op === "update" ? ["field text;", "fields text[];", "old_values jsonb;", "former_key text;"] : nothing}
  ${op === "update" && parts.hides ? ["details jsonb;"] : nothing}
  ${generalVariables(parts)}
`

/**
 * Records the change from plain images. If these cannot be built, `now` or `was` stays null, and the general way that follows
 * records it.
 */
const fastWay = (parts: Parts, op: Op, images: Code, cloned: Cloned | undefined): Code => code`
  begin
    ${images}
    ${epoch.variable} := ${epoch.value};
  exception
    when sqlstate ${literal(epoch.unknown)} then
      ${epoch.variable} := current_epoch();
    when others then
      ${hasNew(op) ? "now" : "was"} := null;
  end;
  ${oneRow(parts, op, {
    alike: `fields := alike_fields(old, new, tg_relid, ${parts.excluded});`,
    ...(cloned?.details === undefined ? {} : { details: cloned.details })
  })}
`

export const rowBody = (parts: Parts, op: Op, cloned?: Cloned): Code => {
  const images = (image: (row: string) => string): Code => [
    ...(hasOld(op) ? [`was := ${image("old")};`] : []),
    ...(hasNew(op) ? [`now := ${image("new")};`] : [])
  ]
  const refuseOthers = (of: Cloned) => code`
    if ${isOther(parts, of, op)} then
      raise exception 'threadline: this function serves no other trigger' using errcode = 'insufficient_privilege';
    end if;
  `
  const unless = (condition: string) => code`
    if (${condition}) is not true then
      return null;
    end if;
  `
  return code`
    #variable_conflict use_variable
    declare
      ${variables(parts, op)}
    begin
      ${cloned === undefined ? nothing : refuseOthers(cloned)}
      ${cloned === undefined ? settleTarget(parts, op) : settleOpenTarget(parts, cloned.purpose)}
      ${cloned?.onlyIf === undefined ? nothing : unless(cloned.onlyIf)}
      ${
        parts.general
          ? nothing
          : fastWay(
              parts,
              op,
              images((row) => imageOf(parts, row)),
              cloned
            )
      }
      ${settlePolicy(parts)}
      ${noteAltered(parts)}
      ${images((row) => generalImage(parts, row))}
      ${generalWay(parts, op, cloned?.details)}
      if first_id is null then
        return null;
      end if;
      ${settleOrder}
      return null;
    end
  `
}
