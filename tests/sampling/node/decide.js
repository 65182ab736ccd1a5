// Decisions of the JavaScript SDK's samplers: decide.js SAMPLER RATIO... < ids > bytes.
'use strict';
const { ROOT_CONTEXT } = require('@opentelemetry/api');
const base = require('@opentelemetry/sdk-trace-base');
const composite = require('@opentelemetry/sampler-composite');

function sampler(name, ratio) {
  return name === 'probability'
    ? composite.createCompositeSampler(composite.createComposableProbabilitySampler(ratio))
    : new base.TraceIdRatioBasedSampler(ratio);
}

const data = require('fs').readFileSync(0);
const [name, ...ratios] = process.argv.slice(2);
for (const ratio of ratios) {
  const asked = sampler(name, Number(ratio));
  const out = Buffer.alloc(data.length / 16);
  for (let i = 0; i < out.length; i++) {
    const id = data.toString('hex', 16 * i, 16 * i + 16);
    const { decision } = asked.shouldSample(ROOT_CONTEXT, id, '', 0, {}, []);
    out[i] = decision === base.SamplingDecision.RECORD_AND_SAMPLED ? 1 : 0;
  }
  require('fs').writeSync(1, out);
}
