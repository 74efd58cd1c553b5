/**
 * Compares the deployed policy of a table with what is configured and with the table as it is.
 */
import { columnChanges, type Sameness } from "./diff.js"
import type { ColumnDifferences, Difference } from "./difference.js"
import { formerDifferences } from "./formerly.js"
import type { Policy } from "./model.js"
import { redactionNames, redactionsOfPolicy } from "./redaction.js"
import type { Resolved } from "./resolve.js"

/** How a table, as it is and as it is configured, differs from its deployed policy. */
export const differences = (policy: Policy, resolved: Resolved, sameness: Sameness): ReadonlyArray<Difference> => {
  const { shape } = resolved
  const columns = columnDifferences(policy, resolved, sameness)
  const namedDifferences = [
    ...policyDifferences(policy, resolved),
    ...(columns === undefined ? [] : [{ _tag: "columns", columns } as const])
  ]
  const same = (before: unknown, after: unknown) => JSON.stringify(before) === JSON.stringify(after)
  return namedDifferences.length > 0 || (same(policy.columns, shape.columns) && same(policy.key, shape.key))
    ? namedDifferences
    : [{ _tag: "columnDetails" }]
}

/** What became of the columns. Undefined if nothing changed. */
const columnDifferences = (
  policy: Policy,
  { shape }: Pick<Resolved, "shape">,
  sameness: Sameness
): ColumnDifferences | undefined => {
  const { added, dropped, renamed, retyped } = columnChanges(policy, shape.columns, sameness)
  return added.length + dropped.length + renamed.length + retyped.length === 0
    ? undefined
    : { added, dropped, renamed: renamed.map(([from, to]) => ({ from, to })), retyped }
}

/** How the configuration of a table differs from its deployed policy. */
export const policyDifferences = (
  policy: Policy,
  { acknowledgeCasts, config, dropGuard, shape }: Pick<Resolved, "acknowledgeCasts" | "config" | "dropGuard" | "shape">
): ReadonlyArray<Difference> => {
  const redaction = (_tag: "exclude" | "mask", before: ReadonlyArray<string>, after: ReadonlyArray<string>) => {
    const added = after.filter((name) => !before.includes(name))
    const removed = before.filter((name) => !after.includes(name))
    return added.length + removed.length === 0 ? [] : [{ _tag, added, removed }]
  }
  const before = redactionNames(redactionsOfPolicy(policy))
  const present = redactionNames(shape)
  const names = (key: ReadonlyArray<{ readonly name: string }>) => key.map(({ name }) => name)
  const [from, to] = [names(policy.key), names(shape.key)]
  return [
    ...(policy.mode === shape.mode ? [] : [{ _tag: "mode" as const, from: policy.mode, to: shape.mode }]),
    ...(policy.always === shape.always ? [] : [{ _tag: "always" as const, to: shape.always }]),
    ...(policy.truncate === shape.onTruncate
      ? []
      : [{ _tag: "truncate" as const, from: policy.truncate, to: shape.onTruncate }]),
    ...(from.length === to.length && from.every((name, place) => name === to[place])
      ? []
      : [{ _tag: "key" as const, from, to }]),
    ...redaction("exclude", before.exclude, present.exclude),
    ...redaction("mask", before.mask, present.mask),
    ...(policy.acknowledgeCasts === acknowledgeCasts
      ? []
      : [{ _tag: "acknowledgeCasts" as const, to: acknowledgeCasts }]),
    ...(policy.dropGuard === dropGuard ? [] : [{ _tag: "dropGuard" as const, to: dropGuard }]),
    ...formerDifferences(policy, config)
  ]
}
