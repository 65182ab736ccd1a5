import io.opentelemetry.api.common.Attributes;
import io.opentelemetry.api.trace.SpanKind;
import io.opentelemetry.context.Context;
import io.opentelemetry.sdk.extension.incubator.trace.samplers.ComposableSampler;
import io.opentelemetry.sdk.extension.incubator.trace.samplers.CompositeSampler;
import io.opentelemetry.sdk.trace.samplers.Sampler;
import io.opentelemetry.sdk.trace.samplers.SamplingDecision;
import java.util.HexFormat;
import java.util.List;

/** Decisions of the Java SDK's samplers: Decide SAMPLER RATIO... < ids > bytes. */
class Decide {
  public static void main(String[] args) throws Exception {
    byte[] ids = System.in.readAllBytes();
    for (int r = 1; r < args.length; r++) {
      double ratio = Double.parseDouble(args[r]);
      Sampler sampler =
          args[0].equals("probability")
              ? CompositeSampler.wrap(ComposableSampler.probability(ratio))
              : Sampler.traceIdRatioBased(ratio);
      byte[] out = new byte[ids.length / 16];
      for (int i = 0; i < out.length; i++) {
        String id = HexFormat.of().formatHex(ids, 16 * i, 16 * i + 16);
        var decision =
            sampler
                .shouldSample(
                    Context.root(), id, "", SpanKind.SERVER, Attributes.empty(), List.of())
                .getDecision();
        out[i] = (byte) (decision == SamplingDecision.RECORD_AND_SAMPLE ? 1 : 0);
      }
      System.out.write(out);
    }
    System.out.flush();
  }
}
