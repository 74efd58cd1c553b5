/**
 * Rows that move from one partition to another. An UPDATE has them in its transition tables, a MERGE does not: PostgreSQL
 * deletes and inserts them behind its back. Row triggers of the partitions see both, and record them as what they are while a
 * statement is open that may be such a MERGE. What the transition tables of a statement turn out to hold is then recorded
 * from these, and what the row triggers recorded of it is forgotten.
 */
import { literal } from "../../sql/sqlText.js"
import type { Op } from "./model.js"
import { storedImage, hasNew, hasOld, type Parts, settlePolicy, settleTarget, targetVariables } from "./parts.js"
import { triggerName } from "./names.js"
import { rowBody } from "./rowMode.js"

/** True for the statement of which rows leave and enter partitions: no other one runs this function. */
export const movingCondition = {
  leave:
    "pg_catalog.current_setting('threadline.updating', true) operator(pg_catalog.<>) '' " +
    "and pg_catalog.set_config('threadline.moved', 'yes', true) operator(pg_catalog.<>) ''",
  enter: "pg_catalog.current_setting('threadline.moved', true) operator(pg_catalog.<>) ''"
} as const

/** Before an UPDATE or MERGE: PostgreSQL calls both of them UPDATE, and tells triggers nothing more. */
export const beginBody = (parts: Parts): string => `declare
${targetVariables}
  context text;
  query text := current_query();
begin
${settleTarget(parts)}
  -- Sent by the client itself, with nothing around it, and without the word: no MERGE.
  if octet_length(query) < 10000 and query !~* 'merge|execute' then
    get diagnostics context = pg_context;
    if strpos(context, chr(10)) = 0 then
      return null;
    end if;
  end if;
  perform update_begins(tg_relid);
  return null;
end`

const table = ({ shape }: Parts): string =>
  `coalesce(of_schema, ${literal(shape.schema)}), coalesce(of_table, ${literal(shape.name)})`

/** A row that leaves its partition, or enters one. Everybody may execute it, so it serves the one trigger that it was made for. */
export const moveBody = (parts: Parts, purpose: "leave" | "enter"): string =>
  rowBody(parts, purpose === "leave" ? "delete" : "insert", {
    refuse: `tg_name <> ${literal(triggerName(purpose))} or tg_when <> 'AFTER' or tg_level <> 'ROW' or tg_op <> ${literal(purpose === "leave" ? "DELETE" : "INSERT")}`,
    onlyIf: "strpos(current_setting('threadline.updating', true), ' ' || pg_trigger_depth() || ':') > 0",
    details: `'{"moved": true}'`
  })

/** Before a statement's own changes are recorded: its rows that the row triggers have recorded. */
export const forgetMoved = (parts: Parts, op: Op): string => {
  const forget = (
    of: "delete" | "insert",
    rows: string
  ) => `    perform forget_moved(${table(parts)}, ${literal(of)}, array(
      select jsonb_hash_extended(${storedImage(parts, "x.*")}, 0) from ${rows} x
    ));
`
  return `${
    op === "update"
      ? `  if current_setting('threadline.updating', true) <> '' then
    perform update_ends(tg_relid);
  end if;
`
      : ""
  }  if current_setting('threadline.moved', true) <> '' then
${settlePolicy(parts)}${hasOld(op) ? forget("delete", "threadline_old") : ""}${hasNew(op) ? forget("insert", "threadline_new") : ""}${
    op === "update" ? "" : "    perform moves_end();\n"
  }  end if;
`
}

/** Rows that entered a partition may have the keys that rows had until this statement changed them. */
export const enteredLast = (parts: Parts): string => `    if moved then
      perform entered_last(${table(parts)});
    end if;
`
