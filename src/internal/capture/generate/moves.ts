/**
 * Rows that move from one partition to another. An UPDATE has them in its transition tables. A MERGE does not: PostgreSQL deletes
 * and inserts them separately. Row triggers of the partitions see both. While a statement is open that may be such a MERGE, they
 * record a delete and an insert. At the end of the statement, rows in its transition tables are recorded from these, and what the
 * row triggers recorded of them is removed.
 */
import { literal } from "../../sql/sqlText.js"
import { type Code, code, nothing } from "./code.js"
import type { Op } from "./model.js"
import { generalImage, generalPolicy, storedImage, hasNew, hasOld, type Parts, settleGeneral } from "./parts.js"
import { rowBody } from "./rowMode.js"

/**
 * True while a statement is open that may be such a MERGE. No other statement runs these functions. PostgreSQL reads a condition
 * anew in every statement, and each operator costs time. So the condition has only one.
 */
export const movingCondition = "pg_catalog.current_setting('threadline.updating', true) operator(pg_catalog.<>) ''"

/**
 * Runs before an UPDATE or MERGE. PostgreSQL calls both of them UPDATE, and tells triggers nothing more. If the client sent the
 * statement, its text is known. If it runs inside a function, the context has its text, if it is a context of SPI. The function
 * notes the statement in a setting. Every role can make such a setting, so there is nothing to forge.
 */
export const beginBody = code`
  declare
    context text;
  begin
    get diagnostics context = pg_context;
    context := case
      when context not like E'%\\n%' then current_query()
      when split_part(context, E'\\n', 2) like 'SQL statement "%' then context
    end;
    -- Nothing that it may be part of is a MERGE, or has a name for one.
    if octet_length(context) < 10000 and context !~* 'merge|execute' then
      return null;
    end if;
    if current_setting('threadline.moved', true) <> '' and coalesce(current_setting('threadline.updating', true), '') = '' then
      context := set_config('threadline.moved', '', true);
    end if;
    context := set_config('threadline.updating', concat(
      current_setting('threadline.updating', true), ' ', pg_trigger_depth(), ':', tg_relid, ':', nextval('audit_changes_id_seq'), ','
    ), true);
    return null;
  end
`

const table = ({ shape }: Parts): string =>
  `coalesce(of_schema, ${literal(shape.schema)}), coalesce(of_table, ${literal(shape.name)})`

/** A row that leaves its partition or enters one. A row that enters matters only if a row has left before it. */
export const moveBody = (parts: Parts, purpose: "leave" | "enter"): Code =>
  rowBody(parts, purpose === "leave" ? "delete" : "insert", {
    purpose,
    onlyIf: `strpos(current_setting('threadline.updating', true), ' ' || pg_trigger_depth() || ':') > 0 and ${purpose === "leave" ? "set_config('threadline.moved', 'yes', true)" : "current_setting('threadline.moved', true)"} <> ''`,
    details: `'{"moved": true}'`
  })

/** Runs before a statement's own changes are recorded: it removes what the row triggers recorded of them. */
export const forgetMoved = (parts: Parts, op: Op): Code => {
  const forget = (of: "delete" | "insert", rows: string): Code => code`
    perform forget_moved(${table(parts)}, ${literal(of)}, array(
      select jsonb_hash_extended(${storedImage(parts, "x.*")}, 0) from ${rows} x
    ));
  `
  const forgets = code`
    ${settleGeneral(parts)}
    ${hasOld(op) ? forget("delete", "threadline_old") : nothing}
    ${hasNew(op) ? forget("insert", "threadline_new") : nothing}
  `
  return op === "update"
    ? code`
        if current_setting('threadline.updating', true) <> '' then
          moved := update_ends(tg_relid);
          if moved then
            ${forgets}
          end if;
        end if;
      `
    : code`
        if current_setting('threadline.moved', true) <> '' then
          ${forgets}
          perform moves_end();
        end if;
      `
}

/** Runs first: it removes what row triggers of an attached table recorded of rows that this statement records itself. */
export const forgetAttached = (parts: Parts, op: Op): Code => {
  const keys = (rows: string): Code => code`
    array(
      select k.row_key
      from ${rows} x
      cross join lateral image_key(${generalImage(parts, "x.*")}, ${generalPolicy(parts)} -> 'key', tg_relid) k
    )
  `
  return code`
    if current_setting('threadline.attached', true) <> '' then
      ${settleGeneral(parts)}
      perform forget_attached(tg_relid, ${table(parts)}, ${literal(op)},
        ${hasOld(op) ? keys("threadline_old") : "'{}'"},
        ${hasNew(op) ? keys("threadline_new") : "'{}'"});
    end if;
  `
}

/** Rows that entered a partition may have keys that other rows had until this statement changed them. */
export const enteredLast = (parts: Parts): Code => code`
  if moved then
    perform entered_last(${table(parts)});
  end if;
`
