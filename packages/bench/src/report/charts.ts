/**
 * Plots as SVG: bars in one panel per case, or lines with both axes logarithmic.
 */
import * as echarts from "echarts"
import type { Measured } from "../harness/measure.ts"
import { valuesOf } from "../harness/verdict.ts"
import type { CaseResult, Result } from "../harness/result.ts"
import { type Summary, summarize } from "../harness/statistics.ts"
import type { Chart, Subject } from "../harness/subject.ts"
import { number, scaled } from "./numbers.ts"

const ours = "#0b6e6e"
const others = "#b9c0c7"
const palette = [
  ours,
  "#d1495b",
  "#edae49",
  "#5c6bc0",
  "#8d6e63",
  "#66a182",
  "#9e9e9e",
  "#2e4057",
  "#b36ae2",
  "#3a86ff"
]
const ink = "#24292f"
const fontFamily = "system-ui, sans-serif"
const width = 900

/** Whether a contestant is PoolKit; all others are drawn in grey. */
const isOurs = (name: string) => /^(\w+Pool\b|PooledHttpClient|PoolKit|full stack)/.test(name)

const render = (height: number, option: echarts.EChartsCoreOption): string => {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width, height })
  chart.setOption({
    animation: false,
    backgroundColor: "#ffffff",
    textStyle: { fontFamily, color: ink },
    ...option
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return `${svg}\n`
}

export const draw = (chart: Chart, subject: Subject, result: Result): string | undefined => {
  const cases = result.cases.filter(({ name }) => chart.cases === undefined || chart.cases.includes(name))
  if (cases.length === 0) return undefined
  if (chart.kind === "bars") return bars(chart, cases)
  return chart.kind === "lines" ? lines(chart, subject, cases) : curves(chart, cases)
}

interface Row {
  readonly name: string
  readonly summary: Summary
}

const rowsOf = ({ contestants }: CaseResult, { figure, scale = 1 }: Chart): ReadonlyArray<Row> =>
  contestants.flatMap((measured) => {
    const values = valuesOf(measured, figure)
    return values.length === 0 ? [] : [{ name: measured.contestant, summary: scaled(summarize(values), scale) }]
  })

const bars = (chart: Chart, cases: ReadonlyArray<CaseResult>): string => {
  const panels = cases
    .map((one) => ({ name: one.name, rows: rowsOf(one, chart) }))
    .filter(({ rows }) => rows.length > 0)
  const columns = panels.length > 1 ? 2 : 1
  const panelWidth = (width - 20) / columns
  const tallest = Math.max(...panels.map(({ rows }) => rows.length))
  const panelHeight = tallest * 22 + 60
  const place = (index: number) => ({
    left: 10 + (index % columns) * panelWidth,
    top: 50 + Math.floor(index / columns) * panelHeight
  })
  return render(50 + Math.ceil(panels.length / columns) * panelHeight, {
    title: [
      { text: `${chart.title}, ${chart.unit}`, left: 10, top: 10, textStyle: { fontSize: 16, color: ink } },
      ...panels.map(({ name }, index) => ({
        text: name,
        ...place(index),
        textStyle: { fontSize: 12, fontWeight: 600, color: ink }
      }))
    ],
    grid: panels.map(({ rows }, index) => {
      const { left, top } = place(index)
      return { left: left + 175, top: top + 22, width: panelWidth - 250, height: rows.length * 22 }
    }),
    xAxis: panels.map((_, gridIndex) => ({
      gridIndex,
      type: chart.log === true ? "log" : "value",
      ...(chart.log === true ? {} : { min: 0 }),
      splitNumber: 3,
      axisLabel: { fontSize: 10, color: ink, formatter: (value: number) => number(value, 0), hideOverlap: true },
      splitLine: { lineStyle: { color: "#eceff1" } }
    })),
    yAxis: panels.map(({ rows }, gridIndex) => ({
      gridIndex,
      type: "category",
      inverse: true,
      data: rows.map(({ name }) => name),
      axisTick: { show: false },
      axisLine: { lineStyle: { color: others } },
      axisLabel: { fontSize: 11, color: ink, width: 168, overflow: "truncate" }
    })),
    series: panels.flatMap(({ rows }, index) => [
      {
        type: "bar",
        xAxisIndex: index,
        yAxisIndex: index,
        barWidth: 13,
        data: rows.map(({ name, summary }) => ({
          value: summary.median,
          itemStyle: { color: isOurs(name) ? ours : others }
        }))
      },
      whiskers(rows, index)
    ])
  })
}

interface Api {
  readonly value: (dimension: number) => number
  readonly coord: (at: ReadonlyArray<number>) => [number, number]
}

/** The middle half of the rounds as a line over the end of each bar, and the median beside it. */
const whiskers = (rows: ReadonlyArray<Row>, index: number) => ({
  type: "custom",
  xAxisIndex: index,
  yAxisIndex: index,
  data: rows.map(({ summary }, row) => [summary.low, summary.high, row]),
  renderItem: (_: unknown, api: Api) => {
    const row = api.value(2)
    const [x1, y] = api.coord([api.value(0), row])
    const [x2] = api.coord([api.value(1), row])
    const text = number(rows[row]!.summary.median)
    return {
      type: "group",
      children: [
        { type: "line", shape: { x1, y1: y, x2, y2: y }, style: { stroke: ink, lineWidth: 1.5 } },
        { type: "text", x: x2 + 6, y, style: { text, fontSize: 10, fontFamily, fill: ink, verticalAlign: "middle" } }
      ]
    }
  }
})

const lines = (chart: Chart, subject: Subject, cases: ReadonlyArray<CaseResult>): string => {
  const names = [...new Set(cases.flatMap(({ contestants }) => contestants.map(({ contestant }) => contestant)))]
  const at = new Map(subject.cases.map(({ n, name }) => [name, n]))
  return render(420, {
    color: palette,
    title: { text: `${chart.title}, ${chart.unit}`, left: 10, top: 10, textStyle: { fontSize: 16, color: ink } },
    legend: { bottom: 6, textStyle: { fontSize: 11, color: ink } },
    grid: { left: 70, right: 30, top: 60, bottom: 90 },
    xAxis: {
      type: "log",
      name: chart.x,
      nameLocation: "middle",
      nameGap: 28,
      axisLabel: { color: ink, formatter: (value: number) => number(value, 0) },
      splitLine: { show: true, lineStyle: { color: "#eceff1" } }
    },
    yAxis: {
      type: "log",
      axisLabel: { color: ink, formatter: (value: number) => number(value) },
      splitLine: { lineStyle: { color: "#eceff1" } }
    },
    series: names.map((name) => ({
      type: "line",
      name,
      symbolSize: 6,
      lineStyle: { width: isOurs(name) ? 3 : 1.5 },
      data: cases.flatMap((one) => {
        const row = rowsOf(one, chart).find((row) => row.name === name)
        const n = at.get(one.name)
        return row === undefined || n === undefined ? [] : [[n, row.summary.median]]
      })
    }))
  })
}

const curves = (chart: Chart, cases: ReadonlyArray<CaseResult>): string => {
  const names = [...new Set(cases.flatMap(({ contestants }) => contestants.map(({ contestant }) => contestant)))]
  const panel = (width - 20) / cases.length
  const left = (index: number) => 10 + index * panel
  return render(440, {
    color: palette,
    title: [
      { text: `${chart.title}, ${chart.unit}`, left: 10, top: 10, textStyle: { fontSize: 16, color: ink } },
      ...cases.map(({ name }, index) => ({
        text: name,
        left: left(index),
        top: 44,
        textStyle: { fontSize: 12, color: ink }
      }))
    ],
    legend: { bottom: 6, data: names, textStyle: { fontSize: 11, color: ink } },
    grid: cases.map((_, index) => ({ left: left(index) + 50, width: panel - 80, top: 76, bottom: 100 })),
    xAxis: cases.map((_, gridIndex) => ({
      gridIndex,
      type: "value",
      min: 1,
      max: "dataMax",
      name: chart.x,
      nameLocation: "middle",
      nameGap: 28,
      axisLabel: { color: ink },
      splitLine: { show: false }
    })),
    yAxis: cases.map((_, gridIndex) => ({
      gridIndex,
      type: "value",
      min: 0,
      axisLabel: { color: ink },
      splitLine: { lineStyle: { color: "#eceff1" } }
    })),
    series: cases.flatMap(({ contestants }, index) =>
      contestants.map((measured) => ({
        type: "line",
        name: measured.contestant,
        xAxisIndex: index,
        yAxisIndex: index,
        showSymbol: false,
        step: "middle",
        lineStyle: { width: isOurs(measured.contestant) ? 3 : 1.5 },
        itemStyle: { color: palette[names.indexOf(measured.contestant) % palette.length] },
        data: curveOf(measured, chart)
      }))
    )
  })
}

const curveOf = (measured: Measured, { figure, scale = 1 }: Chart): ReadonlyArray<readonly [number, number]> => {
  const points: Array<readonly [number, number]> = []
  for (let x = 1; ; x++) {
    const values = valuesOf(measured, `${figure}${x}`)
    if (values.length === 0) return points
    points.push([x, summarize(values).median * scale])
  }
}

export interface Mark {
  readonly label: string
  /** Shares of what must be reached: below 1 is better. */
  readonly found: number
  readonly aim: number
  readonly verdict: "aim" | "must" | "missed"
}

const verdictColors = { aim: ours, must: "#edae49", missed: "#d1495b" }

/** All targets on one axis, on which 1 is what must be reached. */
export const overview = (marks: ReadonlyArray<Mark>): string =>
  render(110 + marks.length * 17, {
    title: {
      text: "Every target: 1 is what must be reached, left is better",
      subtext: "a dot is what was found, a tick what is aimed for",
      left: 10,
      top: 8,
      textStyle: { fontSize: 16, color: ink }
    },
    grid: { left: 420, right: 40, top: 70, height: marks.length * 17 },
    xAxis: {
      type: "log",
      min: 0.1,
      max: 10,
      axisLabel: { color: ink, formatter: (value: number) => number(value, value < 1 ? 1 : 0) },
      splitLine: { lineStyle: { color: "#cfd8dc" } }
    },
    yAxis: {
      type: "category",
      inverse: true,
      data: marks.map(({ label }) => label),
      axisTick: { show: false },
      axisLabel: { fontSize: 10, color: ink, width: 405, overflow: "truncate" }
    },
    series: [
      {
        type: "scatter",
        symbol: "rect",
        symbolSize: [2, 11],
        itemStyle: { color: ink },
        data: marks.map(({ aim }, row) => [clamp(aim), row])
      },
      {
        type: "scatter",
        symbolSize: 9,
        data: marks.map(({ found, verdict }, row) => ({
          value: [clamp(found), row],
          itemStyle: { color: verdictColors[verdict] }
        })),
        markLine: {
          symbol: "none",
          silent: true,
          label: { show: false },
          lineStyle: { color: ink, type: "solid" },
          data: [{ xAxis: 1 }]
        }
      }
    ]
  })

const clamp = (value: number) => Math.min(10, Math.max(0.1, value))
