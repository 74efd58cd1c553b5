/**
 * The change of one row, from the images in `was` and `now`. Statements on a single row and row triggers use it.
 */
import { literal, textArray } from "../../sql/sqlText.js"
import { type Code, code, listed, nothing } from "./code.js"
import type { ColumnShape, Op } from "./model.js"
import { openTransaction } from "./openTransaction.js"
import {
  comparedColumns,
  hasNew,
  isUnaltered,
  keyIsShort,
  keyTexts,
  masking,
  type Parts,
  redacted,
  rowKey,
  rowPk,
  settleOrder,
  shortRowKey,
  targetColumns
} from "./parts.js"

/** True while the images have the columns that the code was generated for. Otherwise the change takes the general way. */
const isCurrent = (parts: Parts, image: string): string => {
  // A new name may have a type whose text follows the session's settings. Or it may be the new name of a redacted column.
  return [
    isUnaltered(parts),
    `${image} - ${parts.columnNames} = '{}'`,
    ...keyIsShort(parts, image),
    ...(parts.needed.length === 0 ? [] : [`${image} ?& ${textArray(parts.needed)}`]),
    ...(parts.inPlace === "" ? [] : [parts.inPlace])
  ].join(" and ")
}

/** Inserts the change. Columns that would be null are left out, because they cost as much as others. */
const insertChange = (
  parts: Parts,
  op: Op,
  image: string,
  values: ReadonlyArray<readonly [column: string, value: string]>
): Code => {
  const allValues: typeof values = [
    ["transaction_id", "opened"],
    ["captured_at", "clock_timestamp()"],
    ...targetColumns(parts),
    ["op", literal(op)],
    ["row_pk", rowPk(parts, keyTexts(parts, image))],
    ["row_key", shortRowKey(parts, image)],
    ...values
  ]
  return code`
    ${openTransaction}
    insert into audit_changes (${allValues.map(([column]) => column).join(", ")})
    values (
      ${listed(allValues.map(([, value]) => value))}
    );
    if raw is null or pg_trigger_depth() > 1 then
      first_id := currval('audit_changes_id_seq');
      ${settleOrder}
    end if;
    return null;
  `
}

/** Collects the changed names in `fields` and their old values in `old_values`. */
const collectFields = (columns: ReadonlyArray<ColumnShape>, different: string): Code =>
  columns.length === 0
    ? nothing
    : code`
        foreach field in array ${textArray(columns.map((column) => column.name))} loop
          if ${different} then
            fields := fields || field;
            old_values := coalesce(old_values, '{}') || jsonb_build_object(field, was -> field);
          end if;
        end loop;
      `

/** Returns if nothing changed. Rows that differ may have equal images: `details` says which fields do. */
const unlessEqual = (parts: Parts, alike: string): Code =>
  parts.hides
    ? code`
        if fields is null then
          ${alike}
          if fields is null then
            return null;
          end if;
          details := jsonb_build_object('alike', fields);
          select coalesce(jsonb_object_agg(f, was -> f), '{}') into old_values from unnest(fields) f;
        end if;
      `
    : code`
        if fields is null then
          return null;
        end if;
      `

/** Sets `former_key`, in a statement of its own: most updates keep the key, and never prepare it. */
const settleFormerKey = (parts: Parts): Code =>
  parts.shape.key.length === 0
    ? nothing
    : code`
        if fields && ${textArray(parts.shape.key.map((column) => column.name))} then
          former_key := nullif(${rowKey(keyTexts(parts, "was"))}, ${rowKey(keyTexts(parts, "now"))});
        end if;
      `

/**
 * `alike` is a statement that sets `fields` to the fields that differ although their images are equal. `details` is the value of
 * that column of the change.
 */
export const oneRow = (
  parts: Parts,
  op: Op,
  { alike, details, onlyIf }: { readonly alike: string; readonly details?: string; readonly onlyIf?: string }
): Code => {
  const image = hasNew(op) ? "now" : "was"
  const detailed: ReadonlyArray<readonly [string, string]> = details === undefined ? [] : [["details", details]]
  const columns = comparedColumns(parts)
  const recorded =
    op === "update"
      ? code`
          ${collectFields(
            columns.filter(({ comparison }) => comparison !== "jsonb"),
            "was ->> field is distinct from now ->> field"
          )}
          ${collectFields(
            columns.filter(({ comparison }) => comparison === "jsonb"),
            "(was -> field)::text is distinct from (now -> field)::text"
          )}
          ${unlessEqual(parts, alike)}
          ${settleFormerKey(parts)}
          ${insertChange(parts, op, image, [
            ["previous_row_key", "former_key"],
            ["changed_fields", "fields"],
            ["changed_from", masking(parts, "old_values", "fields")],
            ["data_after", redacted(parts, "now")],
            ...(parts.hides ? ([["details", "details"]] as const) : detailed)
          ])}
        `
      : insertChange(parts, op, image, [
          op === "insert" ? ["data_after", redacted(parts, "now")] : ["changed_from", redacted(parts, "was")],
          ...detailed
        ])
  return code`
    if ${onlyIf === undefined ? "" : `${onlyIf} and `}${isCurrent(parts, image)} then
      ${recorded}
    end if;
  `
}
