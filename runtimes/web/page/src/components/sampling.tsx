import type { SamplingOptions, Settings } from "../conversations/conversation.ts";
import { ready } from "../model.ts";
import { turnOptions } from "../session.ts";

type Name = keyof SamplingOptions;

interface Range {
  name: Name;
  label: string;
  min: number;
  max: number;
  step: number;
}

const MAIN: readonly Range[] = [
  { name: "temperature", label: "Temperature", min: 0, max: 2, step: 0.05 },
  { name: "top_p", label: "Top-p", min: 0, max: 1, step: 0.01 },
];

const MORE: readonly Range[] = [
  { name: "top_k", label: "Top-k (0: off)", min: 0, max: 200, step: 1 },
  { name: "min_p", label: "Min-p", min: 0, max: 1, step: 0.01 },
  { name: "repetition_penalty", label: "Repetition penalty", min: 1, max: 2, step: 0.01 },
  { name: "presence_penalty", label: "Presence penalty", min: 0, max: 2, step: 0.05 },
  { name: "frequency_penalty", label: "Frequency penalty", min: 0, max: 2, step: 0.05 },
  { name: "penalty_decay", label: "Penalty decay", min: 0.9, max: 1, step: 0.001 },
];

interface Props {
  settings: Settings;
  set: (changed: Partial<Settings>) => void;
}

/** How tokens are chosen. What is not touched is as the bundle prefers, and shown so. */
export function Sampling({ settings, set }: Props) {
  const now = ready();
  const options = now ? turnOptions(settings, now.info) : settings.sampling;
  const touched = Object.keys(settings.sampling).length > 0;
  const slide = (range: Range) => (
    <Slider
      key={range.name}
      range={range}
      value={options[range.name]}
      onInput={(value) => set({ sampling: { ...settings.sampling, [range.name]: value } })}
    />
  );
  return (
    <fieldset>
      <legend>Sampling</legend>
      {MAIN.map(slide)}
      <label>
        <span>Most tokens of a reply</span>
        <input
          type="number"
          min={1}
          max={100000}
          required
          value={settings.maxTokens}
          onChange={({ currentTarget: box }) => box.validity.valid && set({ maxTokens: box.valueAsNumber })}
        />
      </label>
      <details>
        <summary>More</summary>
        {MORE.map(slide)}
        <label>
          <span>Seed (empty: another each time)</span>
          <input
            type="number"
            min={0}
            step={1}
            value={settings.seed ?? ""}
            onChange={({ currentTarget: box }) =>
              box.validity.valid && set({ seed: box.value === "" ? null : box.valueAsNumber })
            }
          />
        </label>
      </details>
      <button type="button" class="text-button" disabled={!touched} onClick={() => set({ sampling: {} })}>
        As the model prefers
      </button>
    </fieldset>
  );
}

interface SliderProps {
  range: Range;
  value: number | undefined;
  onInput: (value: number) => void;
}

function Slider({ range: { label, min, max, step }, value, onInput }: SliderProps) {
  const decimals = Math.max(0, Math.ceil(-Math.log10(step)));
  return (
    <label class="slider">
      <span>{label}</span>
      <span class="value" aria-hidden="true">
        {value?.toFixed(decimals) ?? "–"}
      </span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={value ?? min}
        disabled={value === undefined}
        onInput={({ currentTarget }) => onInput(currentTarget.valueAsNumber)}
      />
    </label>
  );
}
