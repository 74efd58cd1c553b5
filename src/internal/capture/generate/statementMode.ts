/**
 * The function of a statement trigger with transition tables. First the code for one row, which is the common case. Then the code
 * for many rows of a table that was not altered. Then the general way.
 */
import { literal, textArray } from "../../sql/sqlText.js"
import { type Code, code, nothing } from "./code.js"
import { generalRows } from "./generalRows.js"
import { manyRows } from "./manyRows.js"
import type { Op } from "./model.js"
import { oneRow } from "./oneRow.js"
import { epoch, openingVariables } from "./openTransaction.js"
import { enteredLast, forgetAttached, forgetMoved } from "./moves.js"
import {
  hasNew,
  hasOld,
  imageOf,
  imageVariables,
  isUnaltered,
  noteAltered,
  type Parts,
  generalVariables,
  settlePolicy,
  settleTarget,
  targetVariables
} from "./parts.js"

const updateVariables = ({ hides, shape }: Parts): Code => code`
  field text;
  fields text[];
  old_values jsonb;
  former_key text;
  total bigint;
  bytes bigint;
  widest bigint;
  step bigint;
  place bigint;
  arrived bigint;
  ${hides ? ["details jsonb;"] : nothing}
  ${shape.partitioned ? ["moved boolean;"] : nothing}
`

const variables = (parts: Parts, op: Op): Code => code`
  ${targetVariables}
  first_id bigint;
  last_before bigint;
  ${openingVariables}
  -- One for all rows: what shares it was done by one statement.
  instant timestamptz;
  ${imageVariables(op)}
  ${op === "update" ? updateVariables(parts) : nothing}
  ${generalVariables(parts)}
  several boolean;
  guard boolean;
  stale boolean;
`

/** The image variables of an operation, each with the transition table it is read from. */
const sources = (
  op: Op
): ReadonlyArray<{ readonly variable: string; readonly table: string; readonly alias: string }> => [
  ...(hasOld(op) ? [{ variable: "was", table: "threadline_old", alias: "o" }] : []),
  ...(hasNew(op) ? [{ variable: "now", table: "threadline_new", alias: "n" }] : [])
]

const fastWay = (parts: Parts, op: Op): Code => {
  const read = sources(op)
  const follows = parts.shape.partitioned && op === "update"
  const list = (text: (source: (typeof read)[number]) => string) => read.map(text).join(", ")
  const noRow = code`
    -- An old row alone: a trigger of the partition that it moves to has skipped it.
    if not exists (select from threadline_old x) then
      return null;
    end if;
  `
  return code`
    -- One row, the common case, is read into variables. Nothing is written inside the exception block, so
    -- that it costs no transaction id.
    begin
      select ${list(({ alias }) => imageOf(parts, `${alias}.*`))}, ${epoch.value}
      into strict ${list(({ variable }) => variable)}, ${epoch.variable}
      from ${list(({ alias, table }) => `${table} ${alias}`)};
    exception
      when no_data_found then
        ${follows ? noRow : "return null;"}
      when too_many_rows then
        several := true;
      when sqlstate ${literal(epoch.unknown)} then
        -- The general way does for one row.
        several := exists (select from ${read.map(({ table }) => table).at(-1) ?? ""} x offset 1);
      when others then
        ${hasOld(op) ? "was" : "now"} := null;
    end;
    ${oneRow(parts, op, {
      ...(follows ? { onlyIf: "moved is not true" } : {}),
      alike: `select alike_fields(o.*, n.*, tg_relid, ${parts.excluded}) into fields from threadline_old o, threadline_new n;`
    })}

    if several${follows ? " and moved is not true" : ""} then
      select h.guard, ${parts.inPlace === "" ? "h.stale" : `h.stale or (${parts.inPlace}) is not true`} into guard, stale
      from capture_hints(tg_relid, ${parts.columnNames}, ${textArray(parts.virtual)}) h;
    end if;
    if not guard and not stale and ${isUnaltered(parts)} then
      ${manyRows(parts, op)}
    end if;
  `
}

export const statementBody = (parts: Parts, op: Op): Code => {
  const moves = parts.shape.partitioned
  return code`
    #variable_conflict use_variable
    declare
      ${variables(parts, op)}
    begin
      ${settleTarget(parts, op)}
      ${moves ? forgetAttached(parts, op) : nothing}
      ${moves ? forgetMoved(parts, op) : nothing}

      ${parts.general ? nothing : fastWay(parts, op)}

      ${settlePolicy(parts)}
      ${noteAltered(parts)}
      ${generalRows(parts, op)}
      ${moves && op === "update" ? enteredLast(parts) : nothing}
      return null;
    end
  `
}
