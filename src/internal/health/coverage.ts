/**
 * How each table is covered: computed from the catalog and from the findings of capture, so that coverage and findings never differ.
 */
import type { Catalog, Name, Table } from "../capture/catalogModel.js"
import type { Finding as CaptureFinding, TableStatus } from "../capture/finding.js"
import { byName, distinct } from "../capture/byName.js"
import { findTable, label, type ConfiguredTable } from "../capture/resolve.js"
import type { Coverage, CoverageStatus, RelationCoverage, TriggerState } from "./model.js"
import type { Times } from "./record.js"

/** A declared gap, with its name read. */
export interface Gap extends Name {
  readonly reason: string
}

export interface CoverageInput {
  readonly catalog: Catalog
  readonly statuses: ReadonlyArray<TableStatus>
  readonly times: ReadonlyArray<Times>
  readonly configured: ReadonlyArray<ConfiguredTable>
  /** Undefined if nothing is expected but what is configured. */
  readonly expected: ReadonlyArray<Name> | undefined
  readonly gaps: ReadonlyArray<Gap>
  /** Further tables of the host, if all are asked for. */
  readonly hostTables: ReadonlyArray<Name>
}

/** The state of a relation's triggers, from the findings of its table. If several apply, the gravest counts. */
const triggersOf = (relation: string, isRoot: boolean, findings: ReadonlyArray<CaptureFinding>): TriggerState => {
  const of = (test: (finding: CaptureFinding) => boolean) => findings.some(test)
  if (
    of(({ kind }) => kind === "FunctionMissing" || kind === "RootNotCaptured") ||
    of((finding) => finding.kind === "TriggerMissing" && finding.relation === relation) ||
    of((finding) => finding.kind === "PartitionAttached" && finding.partition === relation)
  ) {
    return "missing"
  }
  if (of((finding) => finding.kind === "TriggerDisabled" && finding.relation === relation)) {
    return "disabled"
  }
  return of(
    (finding) =>
      (finding.kind === "TriggerAltered" && finding.relation === relation) ||
      (finding.kind === "FunctionAltered" && isRoot)
  )
    ? "altered"
    : "enabled"
}

const relationsOf = (
  table: Table | undefined,
  status: TableStatus | undefined,
  gap: Gap | undefined
): ReadonlyArray<RelationCoverage> =>
  (table?.relations ?? []).map((relation) => {
    const name = label(relation)
    const triggers: TriggerState =
      (status?.policy ?? null) === null ? "missing" : triggersOf(name, relation.level === 0, status?.findings ?? [])
    return {
      relation: name,
      partition: relation.level > 0,
      status: triggers === "enabled" ? "covered" : gap === undefined ? "uncovered" : "gap",
      triggers
    }
  })

/** The coverage of every table that is captured, configured, expected or a declared gap, by name. */
export const coverageOf = (input: CoverageInput): ReadonlyArray<Coverage> => {
  const { catalog, configured, expected, gaps, hostTables, statuses, times } = input
  const expectedTables = expected ?? configured
  const statusOf = new Map(statuses.map((status) => [status.table, status]))
  const partitionRoot = rootsOf(catalog)
  const gapOf = byName(gaps, (gap) => gap)
  const timeOf = byName(times, (time) => time)
  const among = (names: ReadonlyArray<Name>) => {
    const find = byName(names, (name) => name)
    return (name: Name): boolean => find(name) !== undefined
  }
  const isConfiguredName = among(configured)
  const isExpectedName = among(expectedTables)
  const isHostTable = among(hostTables)
  return distinct([...configured, ...catalog.active, ...expectedTables, ...gaps, ...hostTables])
    .map((name): Coverage => {
      const table = label(name)
      const status = statusOf.get(table)
      // An expected name may be that of a partition. Its root has the policy.
      const catalogTable = findTable(catalog, name)
      const root = partitionRoot(name)
      const gap = gapOf(name)
      const rootStatus = root === undefined ? status : statusOf.get(label(root.relations[0]))
      const relations = relationsOf(root ?? catalogTable, rootStatus, gap).filter(
        ({ relation }) => root === undefined || relation === table
      )
      const time = timeOf(root?.relations[0] ?? name)
      const captured =
        root === undefined ? status?.captured === true : relations.some((relation) => relation.status === "covered")
      const coverage: CoverageStatus = captured ? "covered" : gap === undefined ? "uncovered" : "gap"
      const isConfigured = isConfiguredName(name)
      const isExpected = isExpectedName(name)
      const isKnown = isConfigured || isExpected || gap !== undefined || root !== undefined
      return {
        table,
        status: coverage,
        exists: catalogTable !== undefined || isHostTable(name),
        expected: isExpected,
        configured: isConfigured,
        reason: gap?.reason ?? null,
        since: time?.since ?? null,
        lapses: time?.lapses ?? [],
        keptSince: time?.keptSince ?? null,
        relations,
        refused:
          gap !== undefined && captured
            ? "gap covered"
            : coverage === "uncovered" && isExpected
              ? "uncovered"
              : !isKnown && isHostTable(name)
                ? "unconfigured"
                : null
      }
    })
    .sort((a, b) => (a.table < b.table ? -1 : a.table > b.table ? 1 : 0))
}

/** Finds the captured root of a partition. Undefined if a name is no partition of a captured table. */
const rootsOf = (catalog: Catalog): ((name: Name) => Table | undefined) => {
  const isActive = byName(catalog.active, (name) => name)
  const partitions = catalog.tables
    .filter(({ relations: [root] }) => isActive(root) !== undefined)
    .flatMap((table) =>
      table.relations.filter(({ level }) => level > 0).map(({ name, schema }) => ({ schema, name, table }))
    )
  const find = byName(partitions, (partition) => partition)
  return (name) => find(name)?.table
}
