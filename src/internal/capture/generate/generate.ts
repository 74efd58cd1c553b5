/**
 * Generates the functions and triggers of one captured table.
 */
import { createHash } from "node:crypto"
import { everyPin } from "../model.js"
import {
  type Generated,
  generatorVersion,
  type Op,
  type PartitionTriggers,
  type Pin,
  type Purpose,
  type RelationShape,
  type TableShape,
  type Trigger,
  type TriggerFunction
} from "./model.js"
import type { Code } from "./code.js"
import { beginBody, moveBody, movingCondition } from "./moves.js"
import { clonedTriggerName, functionName, openFunctionName, triggerName, watchfulName } from "./names.js"
import { type Parts, partsOf } from "./parts.js"
import { functionStatements } from "./print.js"
import { rowBody } from "./rowMode.js"
import { statementBody } from "./statementMode.js"
import { truncateBody } from "./truncate.js"

const ops: ReadonlyArray<Op> = ["insert", "update", "delete"]

const pinsOf = ({ shape }: Parts): ReadonlyArray<Pin> => {
  const needed = new Set(shape.columns.flatMap((column) => column.pins))
  return everyPin.filter((pin) => needed.has(pin))
}

/** Row triggers of a partitioned table are cloned for each partition by the role that makes the partition. */
const clones = (shape: TableShape): boolean => shape.mode === "row" && shape.partitioned

const triggersOf = (shape: TableShape, relation: Pick<RelationShape, "kind" | "position">): ReadonlyArray<Trigger> => {
  const rowMode = shape.mode === "row" || relation.kind === "foreign"
  // A row trigger on a partitioned table is cloned to its partitions by PostgreSQL itself.
  const cloned = rowMode && relation.position === "partition"
  const changes = cloned
    ? []
    : ops.map((op): Trigger => ({
        name: clones(shape) ? clonedTriggerName(shape, op) : triggerName(op),
        event: op,
        timing: "after",
        level: rowMode ? "row" : "statement",
        transition: !rowMode,
        always: shape.always,
        calls: clones(shape) ? openFunctionName(shape, op) : functionName(shape, op)
      }))
  return [
    ...changes,
    ...(shape.partitioned && !rowMode ? moveTriggers(shape, relation) : []),
    {
      name: triggerName("truncate"),
      event: "truncate",
      timing: "before",
      level: "statement",
      transition: false,
      always: shape.always,
      calls: functionName(shape, "truncate")
    }
  ]
}

const moveTriggers = (
  shape: TableShape,
  relation: Pick<RelationShape, "kind" | "position">
): ReadonlyArray<Trigger> => {
  const common = { transition: false, always: shape.always } as const
  const begin: Trigger = {
    name: triggerName("begin"),
    event: "update",
    timing: "before",
    level: "statement",
    calls: functionName(shape, "begin"),
    ...common
  }
  const move = (purpose: "leave" | "enter", event: Op): Trigger => ({
    name: clonedTriggerName(shape, purpose),
    event,
    timing: "after",
    level: "row",
    condition: movingCondition,
    calls: openFunctionName(shape, purpose),
    ...common
  })
  // It never fires. But if a partition has such a trigger, PostgreSQL takes each row for the transition tables from the partition. Without
  // it, a MERGE that has inserted a row puts that row in the place of each row that it updates afterwards.
  const route: Trigger = {
    name: clonedTriggerName(shape, "route"),
    event: "insert",
    timing: "before",
    level: "row",
    condition: "false",
    calls: openFunctionName(shape, "enter"),
    ...common
  }
  return [
    // Rows of a partition without partitions have nowhere to move to.
    ...(relation.kind === "partitioned" ? [begin] : []),
    ...(relation.position === "root" ? [move("leave", "delete"), move("enter", "insert"), route] : [])
  ]
}

/** The triggers of a partition of each kind. */
export const partitionTriggers = ({ triggers }: Generated): PartitionTriggers => {
  const ofKind = (kind: RelationShape["kind"]) => triggers({ kind, position: "partition" })
  return { table: ofKind("table"), partitioned: ofKind("partitioned"), foreign: ofKind("foreign") }
}

export const generate = (storageSchema: string, shape: TableShape): Generated => {
  const parts = partsOf(shape)
  const pins = pinsOf(parts)
  const triggerFunction = (purpose: Purpose, body: Code): TriggerFunction => ({
    name: functionName(shape, purpose),
    pins: purpose === "begin" ? [] : pins,
    body,
    everybody: false
  })
  const openFunction = (purpose: Purpose, body: Code): TriggerFunction => ({
    name: openFunctionName(shape, purpose),
    pins,
    body,
    everybody: true
  })
  const functions = [
    ...ops.map((op) =>
      clones(shape)
        ? openFunction(op, rowBody(parts, op, { purpose: op }))
        : triggerFunction(op, shape.mode === "row" ? rowBody(parts, op) : statementBody(parts, op))
    ),
    ...(shape.partitioned && shape.mode === "statement"
      ? [
          triggerFunction("begin", beginBody),
          openFunction("leave", moveBody(parts, "leave")),
          openFunction("enter", moveBody(parts, "enter"))
        ]
      : []),
    triggerFunction("truncate", truncateBody(parts))
  ]
  const settings = JSON.stringify({ generatorVersion, mode: shape.mode, always: shape.always })
  return {
    functions,
    watchful: watchfulName(shape),
    triggers: (relation) => triggersOf(shape, relation),
    sourceHash: createHash("sha256")
      .update([settings, ...functions.flatMap((made) => functionStatements(storageSchema, made))].join("\0"))
      .digest("hex")
  }
}
